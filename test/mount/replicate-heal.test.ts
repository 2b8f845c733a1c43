/**
 * What bricks missed is healed by our mount alone (the self-heal daemon is off): each kind of
 * damage, then equal bricks, empty change logs and nothing in `heal info`. Then split-brains.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { describe, test } from 'node:test'
import { equalBricks, marks } from '../lib/replicate-bricks.ts'
import { enterSandbox, type Mount, ours, run, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const CLIENT_HEALS = {
  'cluster.self-heal-daemon': 'off',
  'cluster.data-self-heal': 'on',
  'cluster.metadata-self-heal': 'on',
  'cluster.entry-self-heal': 'on',
  // Content and attributes come from the bricks.
  'performance.quick-read': 'off',
  'performance.stat-prefetch': 'off',
}

/** Looks at everything until the change logs are empty. */
async function healBy(mount: Mount, volume: Volume): Promise<void> {
  let left: string[] = []
  for (let i = 0; i < 40; i++) {
    await run(['find', mount.dir, '-ls'])
    await run(['sh', '-c', `find '${mount.dir}' -type f -exec cat {} + >/dev/null`]).catch(() => {})
    left = marks(volume)
    if (left.length === 0) return
    await sleep(500)
  }
  assert.deepEqual(left, [], 'marks left')
}

async function infoIsEmpty(volume: Volume): Promise<void> {
  const { stdout } = await run(['gluster', 'volume', 'heal', volume.name, 'info'])
  const counts = stdout.match(/Number of entries: \d+/g) ?? []
  assert.equal(counts.length, volume.bricks.length, stdout)
  assert.ok(
    counts.every((line) => line.endsWith(' 0')),
    stdout,
  )
}

function prepare(dir: string): void {
  mkdirSync(`${dir}/d/sub`, { recursive: true })
  mkdirSync(`${dir}/gone/deep`, { recursive: true })
  writeFileSync(`${dir}/gone/deep/file`, 'x')
  mkdirSync(`${dir}/moved`)
  writeFileSync(`${dir}/moved/inside`, 'inside')
  for (const name of ['written', 'cut', 'chmod', 'removed', 'renamed', 'replaced', 'linked']) {
    writeFileSync(`${dir}/d/${name}`, name.repeat(20_000))
  }
  writeFileSync(`${dir}/d/big`, Buffer.alloc(3 << 20, 7))
  symlinkSync('nowhere', `${dir}/d/symlink-removed`)
}

/** Each kind of change a brick can miss. */
function change(dir: string): void {
  writeFileSync(`${dir}/d/written`, 'new content')
  truncateSync(`${dir}/d/cut`, 17)
  chmodSync(`${dir}/d/chmod`, 0o751)
  chownSync(`${dir}/d/chmod`, 12, 34)
  execFileSync('setfattr', ['-n', 'user.new', '-v', 'value', `${dir}/d/chmod`])
  unlinkSync(`${dir}/d/removed`)
  renameSync(`${dir}/d/renamed`, `${dir}/d/sub/renamed`)
  writeFileSync(`${dir}/d/tmp`, 'replacement')
  renameSync(`${dir}/d/tmp`, `${dir}/d/replaced`)
  linkSync(`${dir}/d/linked`, `${dir}/d/sub/hard`)
  const fd = `${dir}/d/big`
  execFileSync(
    'dd',
    [`of=${fd}`, 'if=/dev/urandom', 'bs=1000', 'count=3', 'seek=1500', 'conv=notrunc'],
    {
      stdio: 'ignore',
    },
  )
  mkdirSync(`${dir}/fresh/a/b`, { recursive: true })
  writeFileSync(`${dir}/fresh/a/b/file`, 'fresh'.repeat(50_000))
  symlinkSync('target', `${dir}/fresh/symlink`)
  execFileSync('mkfifo', ['-m', '640', `${dir}/fresh/fifo`])
  execFileSync('rm', ['-r', `${dir}/gone`])
  unlinkSync(`${dir}/d/symlink-removed`)
  renameSync(`${dir}/moved`, `${dir}/fresh/moved`)
  rmdirSync(`${dir}/d/empty`, { recursive: false })
}

for (const [shape, layout, bricks] of [
  ['replica 3', ['replica', '3'], 3],
  ['replica 2', ['replica', '2'], 2],
  ['arbiter', ['replica', '3', 'arbiter', '1'], 3],
] as const) {
  describe(`${shape}: heals by the mount`, { skip }, () => {
    test('every kind of change a brick missed', async () => {
      const name = `heal${bricks}${layout.length}`
      const volume = await Volume.create(name, { bricks, layout: [...layout], set: CLIENT_HEALS })
      const mount = await volume.mount(ours)
      prepare(mount.dir)
      mkdirSync(`${mount.dir}/d/empty`)
      await volume.killBrick(1)
      await sleep(300)
      change(mount.dir)
      assert.notDeepEqual(marks(volume), [])
      await volume.startBricks()
      await sleep(1500)
      await healBy(mount, volume)
      equalBricks(volume, shape === 'arbiter')
      await infoIsEmpty(volume)
      assert.equal(statSync(`${mount.dir}/fresh/a/b/file`).size, 250_000)
      await mount.unmount()
      await volume.killBricks()
    })
  })
}
