/** features.uss: `.snaps` is served by a snapshot daemon, as a stock mount shows it. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { E } from '../../src/core/errno.ts'
import { enterSandbox, gluster, type Mount, sleep, Volume } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'
import { O } from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

/** Calls on and below `.snaps` in the directory, and what they return. */
function script(dir: string): Record<string, unknown> {
  const snaps = `${dir}/.snaps`
  const found = sys.stat(snaps)
  return {
    stat: typeof found === 'number' ? found : [found.mode, found.uid, found.nlink],
    list: readdirSync(snaps),
    missing: sys.stat(`${snaps}/x`),
    nested: sys.stat(`${snaps}/.snaps`),
    access: sys.access(snaps, 7),
    write: sys.open(snaps, O.O_WRONLY),
    create: sys.open(`${snaps}/x`, O.O_CREAT | O.O_RDWR),
    mkdir: [sys.mkdir(snaps), sys.mkdir(`${snaps}/x`)],
    symlink: [sys.symlink('x', snaps), sys.symlink('x', `${snaps}/x`)],
    link: sys.link(`${dir}/file`, `${snaps}/x`),
    into: sys.rename(`${dir}/file`, `${snaps}/x`),
    onto: sys.rename(`${dir}/empty`, snaps),
    away: sys.rename(snaps, `${dir}/moved`),
    rmdir: sys.rmdir(snaps),
    unlink: [sys.unlink(snaps), sys.unlink(`${snaps}/x`)],
    chmod: sys.chmod(snaps, 0o700),
    setxattr: sys.setxattr(snaps, 'user.a', Buffer.from('b')),
    getxattr: sys.getxattr(snaps, 'user.a'),
    listed: readdirSync(dir).includes('.snaps'),
  }
}

/** Looked for until snapd answers, or does not any more; a few seconds at most. */
async function until(path: string, right: (result: unknown) => boolean): Promise<void> {
  let result: unknown
  for (let i = 0; i < 80; i++) {
    result = sys.stat(path)
    if (right(result)) return
    await sleep(100)
  }
  assert.fail(`${path}: ${String(result)}`)
}
const isFound = (result: unknown): boolean => typeof result !== 'number'

async function snapdPid(name: string): Promise<number> {
  const status = await gluster('volume', 'status', name, 'snapd')
  const pid = /Snapshot Daemon on \S+\s+\d+\s+\S+\s+Y\s+(\d+)/.exec(status)?.[1]
  return Number(pid ?? assert.fail(status))
}

describe('features.uss', { skip, timeout: 60_000 }, () => {
  let volume: Volume
  let mount: Mount

  test('.snaps answers as on a stock mount', async () => {
    volume = await Volume.create('uss', { bricks: 2, set: { 'features.uss': 'on' } })
    mount = await volume.mount('ours')
    const stock = await volume.mount('stock')
    for (const { dir } of [mount, stock]) await until(`${dir}/.snaps`, isFound)
    mkdirSync(`${mount.dir}/d/empty`, { recursive: true })
    mkdirSync(`${mount.dir}/empty`)
    for (const path of ['file', 'd/file']) writeFileSync(`${mount.dir}/${path}`, 'content')
    for (const path of ['', '/d']) {
      assert.deepEqual(script(mount.dir + path), script(stock.dir + path))
    }
  })

  test('its name changes with the option', async () => {
    await volume.set('features.snapshot-directory', '.old')
    await until(`${mount.dir}/d/.old`, isFound)
    await until(`${mount.dir}/d/.snaps`, (result) => result === -E.NOENT)
    assert.equal(sys.mkdir(`${mount.dir}/d/.snaps`), 0)
  })

  test('without snapd the volume works on, and .snaps comes back with it', async () => {
    process.kill(await snapdPid('uss'), 'SIGKILL')
    await until(`${mount.dir}/.old`, (result) => result === -E.NOTCONN)
    writeFileSync(`${mount.dir}/d/new`, 'new')
    assert.equal(readFileSync(`${mount.dir}/d/new`, 'utf8'), 'new')
    assert.deepEqual(readdirSync(`${mount.dir}/d`).sort(), ['.snaps', 'empty', 'file', 'new'])
    await gluster('volume', 'start', 'uss', 'force')
    await until(`${mount.dir}/.old`, isFound)
    assert.deepEqual(readdirSync(`${mount.dir}/.old`), [])
  })
})
