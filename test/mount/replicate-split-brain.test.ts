/**
 * Split-brains of each kind, made by writing to one brick at a time: what users see, what the log
 * says, and every way out: looking at a copy and taking it, `gluster volume heal … split-brain`,
 * and a favorite-child-policy.
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { equalBricks, marks } from '../lib/replicate-bricks.ts'
import { enterSandbox, type Mount, ours, run, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const OPTIONS = {
  'cluster.self-heal-daemon': 'off',
  'cluster.data-self-heal': 'on',
  'cluster.metadata-self-heal': 'on',
  'cluster.entry-self-heal': 'on',
  'cluster.quorum-type': 'none',
  // With it gluster's own latest-mtime first makes the times equal, then finds no difference.
  'features.ctime': 'off',
  // What was read before must not answer for the bricks.
  'performance.quick-read': 'off',
  'performance.io-cache': 'off',
  'performance.write-behind': 'off',
}

const SIZES = { 0: 30_000, 1: 20_000 } as const
const DATA = ['shown', 'taken', 'bigger', 'latest', 'source', 'by-policy', 'same-size']

function change(dir: string, brick: 0 | 1): void {
  for (const name of DATA) {
    const size = name === 'same-size' ? 5_000 : SIZES[brick]
    writeFileSync(`${dir}/${name}`, String(brick).repeat(size))
  }
  chmodSync(`${dir}/metadata`, brick === 0 ? 0o700 : 0o750)
  writeFileSync(`${dir}/d/both`, `made while only brick ${brick} was there`)
  writeFileSync(`${dir}/d/only-${brick}`, 'no conflict')
}

/** Waits until the mount sees exactly these bricks. */
async function bricksSeen(mount: Mount, ...up: number[]): Promise<void> {
  let text = ''
  for (let i = 0; i < 100; i++) {
    try {
      text = readFileSync(`${mount.dir}/.meta/graphs/active/split-replicate-0/private`, 'latin1')
    } catch {
      // Without any brick the root itself cannot be looked at.
      text = ''
    }
    const now = [0, 1].filter((brick) => text.includes(`child_up[${brick}] = 1`))
    if (now.join() === up.join()) return
    await sleep(200)
  }
  assert.fail(`bricks ${up.join()} are not seen: ${text}`)
}

/** Changes the same files twice, each time with only one brick there. */
async function split(volume: Volume, mount: Mount): Promise<void> {
  mkdirSync(`${mount.dir}/d`)
  for (const name of [...DATA, 'metadata']) writeFileSync(`${mount.dir}/${name}`, 'before')
  await sleep(1200)
  await volume.killBrick(1)
  await bricksSeen(mount, 0)
  change(mount.dir, 0)
  // Long enough for what is kept of a write to reach the brick.
  await sleep(1500)
  await volume.killBrick(0)
  // This starts both; nobody looks at anything before the one that knows better is gone again.
  await volume.startBricks()
  await volume.killBrick(0)
  await bricksSeen(mount, 1)
  change(mount.dir, 1)
  await sleep(1500)
  await volume.startBricks()
  await bricksSeen(mount, 0, 1)
}

function errnoOf(action: () => unknown): string {
  try {
    action()
    return 'none'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

const read = (path: string) => readFileSync(path, 'latin1')
const first = (path: string) => read(path)[0]

describe('split-brain on replica 2', { skip }, () => {
  let volume: Volume
  let mount: Mount

  before(async () => {
    const layout = ['replica', '2']
    volume = await Volume.create('split', { bricks: 2, layout, set: OPTIONS })
    mount = await volume.mount(ours)
    await split(volume, mount)
  })

  after(async () => {
    await mount.unmount()
    await volume.killBricks()
  })

  const setfattr = (name: string, value: string, file: string) =>
    run(['setfattr', '-n', name, '-v', value, `${mount.dir}/${file}`])

  test('reads, writes and changes of attributes fail, stat and unlink do not', () => {
    const file = `${mount.dir}/shown`
    assert.equal(
      errnoOf(() => read(file)),
      'EIO',
    )
    assert.equal(
      errnoOf(() => writeFileSync(file, 'x', { flag: 'r+' })),
      'EIO',
    )
    assert.equal(
      errnoOf(() => chmodSync(file, 0o600)),
      'EIO',
    )
    assert.equal(
      errnoOf(() => statSync(file)),
      'none',
    )
    const metadata = `${mount.dir}/metadata`
    assert.equal(
      errnoOf(() => read(metadata)),
      'EIO',
    )
    assert.equal(
      errnoOf(() => chmodSync(metadata, 0o600)),
      'EIO',
    )
    assert.equal(
      errnoOf(() => read(`${mount.dir}/d/both`)),
      'EIO',
    )
    assert.equal(read(`${mount.dir}/d/only-0`), 'no conflict')
    assert.equal(read(`${mount.dir}/d/only-1`), 'no conflict')
  })

  test('the log names the file and the way out', () => {
    const all = readFileSync(mount.log, 'latin1').split('\n')
    const log = all.filter((line) => line.includes('] E [')).join('\n')
    const lines = log.split('\n').filter((line) => line.includes("'/shown' is in split-brain"))
    assert.equal(lines.length, 1, log)
    assert.match(lines[0]!, /gluster volume heal split split-brain/)
    assert.match(log, /'\/d\/both' (is in split-brain|has different gfids)/)
  })

  test('status, a look at each copy, then one of them is taken', async () => {
    const { stdout } = await run([
      'getfattr',
      '-n',
      'replica.split-brain-status',
      '--only-values',
      `${mount.dir}/shown`,
    ])
    assert.equal(
      stdout.replace(/\0+$/, ''),
      'data-split-brain:yes    metadata-split-brain:no    Choices:split-client-0,split-client-1',
    )
    for (const brick of [0, 1]) {
      await setfattr('replica.split-brain-choice', `split-client-${brick}`, 'taken')
      assert.equal(first(`${mount.dir}/taken`), String(brick))
    }
    await setfattr('replica.split-brain-choice', 'none', 'taken')
    assert.equal(
      errnoOf(() => read(`${mount.dir}/taken`)),
      'EIO',
    )
    await setfattr('replica.split-brain-heal-finalize', 'split-client-1', 'taken')
    assert.equal(read(`${mount.dir}/taken`), '1'.repeat(20_000))
    assert.equal(statSync(`${mount.dir}/taken`).size, 20_000)
    await setfattr('replica.split-brain-heal-finalize', 'split-client-0', 'metadata')
    assert.equal(statSync(`${mount.dir}/metadata`).mode & 0o777, 0o700)
    assert.equal(read(`${mount.dir}/metadata`), 'before')
    await setfattr('replica.split-brain-heal-finalize', 'split-client-0', 'shown')
  })

  test("gluster's own commands, this client mounted", async () => {
    const heal = (...words: string[]) =>
      run(['gluster', 'volume', 'heal', 'split', 'split-brain', ...words])
    await heal('bigger-file', '/bigger')
    await heal('latest-mtime', '/latest')
    await heal('source-brick', `node01:${volume.bricks[0]}`, '/source')
    await heal('source-brick', `node01:${volume.bricks[0]}`, '/d/both')
    await sleep(1100)
    assert.equal(first(`${mount.dir}/bigger`), '0')
    assert.equal(first(`${mount.dir}/latest`), '1')
    assert.equal(first(`${mount.dir}/source`), '0')
    assert.equal(read(`${mount.dir}/d/both`), 'made while only brick 0 was there')
  })

  test('a policy heals what is left', async () => {
    await volume.set('cluster.favorite-child-policy', 'size')
    await sleep(1500)
    assert.equal(first(`${mount.dir}/by-policy`), '0')
    assert.equal(
      errnoOf(() => read(`${mount.dir}/same-size`)),
      'EIO',
    )
    await volume.set('cluster.favorite-child-policy', 'mtime')
    await sleep(1500)
    assert.equal(first(`${mount.dir}/same-size`), '1')
    for (let i = 0; i < 20 && marks(volume).length > 0; i++) {
      await run(['sh', '-c', `find '${mount.dir}' -type f -exec cat {} + >/dev/null`])
      await sleep(500)
    }
    assert.deepEqual(marks(volume), [])
    equalBricks(volume, false)
    const { stdout } = await run(['gluster', 'volume', 'heal', 'split', 'info', 'split-brain'])
    assert.equal(stdout.match(/Number of entries in split-brain: 0/g)?.length, 2, stdout)
    unlinkSync(`${mount.dir}/shown`)
  })
})
