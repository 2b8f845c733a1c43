/** LOOKUPs answered from a listing of our own, beside a stock client that changes the files. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { enterSandbox, type Mount, ours, Volume } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

const FILES = 60
/** Entries and attributes are trusted for a second, by the kernel and once more by md-cache. */
const visibleMaxMs = 2500

describe('primed lookups beside a stock mount', { skip, timeout: 120_000 }, () => {
  let mounts: Mount[]
  const at = (mount: number, name: string): string => `${mounts[mount]!.dir}/d/${name}`
  const counter = (name: string): number => {
    const text = readFileSync(`${mounts[0]!.dir}/.meta/root/private`, 'latin1')
    return Number(new RegExp(`^${name} = (\\d+)$`, 'm').exec(text)?.[1])
  }
  const look = (name: string): string => {
    const found = sys.stat(at(0, name))
    return typeof found === 'number'
      ? String(sys.errnoName(found))
      : `${found.size} ${found.mode & 0o777}`
  }
  const lookAll = (): string[] => Array.from({ length: FILES }, (_, i) => look(`f${i}`))
  const write = (mount: number, name: string, text: string): void => {
    const fd = sys.open(at(mount, name), sys.O.O_CREAT | sys.O.O_TRUNC | sys.O.O_WRONLY, 0o644)
    assert.ok(fd >= 0, `open: ${String(sys.errnoName(fd))}`)
    assert.equal(sys.write(fd, Buffer.from(text)), text.length)
    assert.equal(sys.close(fd), 0)
  }

  before(async () => {
    const volume = await Volume.create('primed', { bricks: 2 })
    mounts = [await volume.mount(ours, ['--prime-lookups=on']), await volume.mount('stock')]
    assert.equal(sys.mkdir(`${mounts[1]!.dir}/d`, 0o755), 0)
    for (let i = 0; i < FILES; i++) write(1, `f${i}`, 'x')
  })
  after(async () => {
    for (const mount of mounts) await mount.unmount()
  })

  test('files looked up one after the other cost one listing', () => {
    assert.deepEqual(new Set(lookAll()), new Set(['1 420']))
    if (ours === 'ours') assert.equal(Number.isInteger(counter('primed_listings')), true)
  })

  test("the stock mount's changes show within the bound, whoever looks all the time", () => {
    lookAll()
    write(1, 'f10', 'twelve bytes')
    assert.equal(sys.chmod(at(1, 'f11'), 0o600), 0)
    assert.equal(sys.unlink(at(1, 'f12')), 0)
    assert.equal(sys.rename(at(1, 'f13'), at(1, 'f14')), 0)
    write(1, 'f15', 'seven b')
    const since = clock.now()
    const wanted = ['12 420', '1 384', 'ENOENT', 'ENOENT', '1 420', '7 420']
    let found: string[] = []
    while (clock.now() - since < visibleMaxMs) {
      found = lookAll().slice(10, 16)
      if (found.join() === wanted.join()) return
    }
    assert.deepEqual(found, wanted)
  })

  test('our own changes show at once, whatever has been listed', () => {
    for (let round = 1; round <= 40; round++) {
      const first = 20 + (round % 30)
      // A run of lookups lists the directory while the changes are made.
      for (let i = 0; i < 8; i++) look(`f${i}`)
      write(0, `f${first}`, 'y'.repeat(round))
      assert.equal(look(`f${first}`).split(' ')[0], String(round))
      assert.equal(sys.truncate(at(0, `f${first + 1}`), round), 0)
      assert.equal(look(`f${first + 1}`).split(' ')[0], String(round))
      assert.equal(sys.chmod(at(0, `f${first + 2}`), 0o600 + (round % 8)), 0)
      assert.equal(look(`f${first + 2}`).split(' ')[1], String(0o600 + (round % 8)))
      assert.equal(sys.rename(at(0, `f${first + 3}`), at(0, 'moved')), 0)
      assert.equal(look(`f${first + 3}`), 'ENOENT')
      assert.notEqual(look('moved'), 'ENOENT')
      assert.equal(sys.unlink(at(0, 'moved')), 0)
      assert.equal(look('moved'), 'ENOENT')
      write(0, `f${first + 3}`, 'again')
      assert.equal(look(`f${first + 3}`).split(' ')[0], '5')
    }
  })

  test('what the stock mount closed is what our open reads', () => {
    for (let round = 1; round <= 10; round++) {
      lookAll()
      write(1, 'f30', 'z'.repeat(round))
      const fd = sys.open(at(0, 'f30'), sys.O.O_RDONLY)
      const data = sys.pread(fd, 100, 0)
      sys.close(fd)
      assert.ok(Buffer.isBuffer(data))
      assert.equal(data.latin1Slice(), 'z'.repeat(round))
    }
  })
})
