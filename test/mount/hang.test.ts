/**
 * Bricks that do not answer (SIGSTOP), with 1,000 calls waiting for them: the state dump is complete
 * in time, `.meta/frames` can be read and both explain the calls; the log names the first of them.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { PENDING_MS_MAX } from '../../xlators/mount/fuse/watch.ts'
import { enterSandbox, type Mount, ours, run, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const CALLS = 1000

/** HANG_LAYOUT chooses another kind of volume; npm test takes a distributed one. */
const layouts: Readonly<Record<string, { bricks: number; layout: string[]; keys: string[] }>> = {
  distribute: { bricks: 2, layout: [], keys: [] },
  disperse: {
    bricks: 3,
    layout: ['disperse', '3', 'redundancy', '1'],
    keys: [
      '[cluster/disperse.hang-disperse-0]\nup=1\nnodes=3\nredundancy=1\nfragment_size=512\n' +
        'stripe_size=1024\nchilds_up=3\nchilds_up_mask=111\nbackground-heals=8\n' +
        'heal-wait-qlength=128\nself-heal-window-size=32\nhealers=0\nheal-waiters=0\n' +
        'read-policy=gfid-hash\nparallel-writes=1\nquorum-count=0\n',
      '[cluster/disperse.hang-disperse-0.stats.stripe_cache]\nhits=',
    ],
  },
  replicate: {
    bricks: 3,
    layout: ['replica', '3'],
    keys: [
      '[cluster/replicate.hang-replicate-0]\nchild_count=3\nchild_up[0]=1\n' +
        'pending_key[0]=trusted.afr.hang-client-0\npending_reads[0]=0\n',
      'child_up[2]=1\npending_key[2]=trusted.afr.hang-client-2\n',
      'data_self_heal=0\nmetadata_self_heal=0\nentry_self_heal=0\n',
      'quorum-type=auto\nup=1\n',
    ],
  },
}
const kind = process.env.HANG_LAYOUT ?? 'distribute'
const shape = layouts[kind]!
/** What the dump of any volume has (spec of the tools that read it). */
const KEYS = [
  '[xlator.mount.fuse.priv]\nfd=',
  'init_recvd=1\n',
  '[xlator.mount.fuse.itable]\n',
  'xlator.mount.fuse.itable.active_size=',
  'xlator.mount.fuse.itable.lru_limit=65536\n',
  '[xlator.cluster.dht.hang-dht.priv]\nsubvol_cnt=',
  'subvolumes[0]=',
  'subvolume_status[0]=1\n',
  'search_unhashed=',
  '[xlator.protocol.client.hang-client-0.priv]\n',
  'connected=1\ntotal_bytes_read=',
  'msgs_sent=',
  '[performance/md-cache.hang-md-cache]\nstat_hit_count=',
  '[xlator.performance.quick-read.priv]\nmax_file_size=',
]
const DUMPS = '/var/run/gluster'
const DUMP_MS_MAX = 3000

/** Looks `CALLS` names up at once, each on a thread of its own; prints what became of them. */
const script = `
  const fs = require('fs')
  const [dir, count] = process.argv.slice(1)
  let left = Number(count)
  const codes = new Set()
  for (let i = 0; i < Number(count); i++) {
    fs.lstat(dir + '/none-' + i, (error) => {
      codes.add(error?.code)
      if (--left === 0) console.log([...codes].join())
    })
  }
`

interface Frames {
  Call_Count: number
  Bricks: Record<string, number>
  Stack: {
    Type: string
    Path: string[]
    Age: number
    Waits_in: string[]
    Waits_for_brick: string[]
    Frame: { Xlator: string; Complete: number }[]
  }[]
}

describe(`bricks hang (${kind})`, { skip, timeout: 180_000 }, () => {
  let volume: Volume
  let mount: Mount
  let lookups: ChildProcess
  let result = ''
  let stopped = 0
  const brickPids: number[] = []

  const frames = async (): Promise<Frames> =>
    JSON.parse(await readFile(`${mount.dir}/.meta/frames`, 'latin1')) as Frames
  const signal = (name: 'SIGSTOP' | 'SIGCONT'): void => {
    for (const pid of brickPids) process.kill(pid, name)
  }

  before(async () => {
    volume = await Volume.create('hang', { bricks: shape.bricks, layout: shape.layout })
    mount = await volume.mount(ours)
    for (const i of volume.bricks.keys()) brickPids.push(volume.brickPid(i)!)
    // what is known of the root stands in for what hung bricks do not say
    await run(['ls', mount.dir])
    signal('SIGSTOP')
    stopped = clock.now()
    // the first to be told of
    const first = spawn('cat', [`${mount.dir}/first`], { stdio: 'ignore' })
    first.unref()
    await sleep(2000)
    lookups = spawn(process.execPath, ['-e', script, mount.dir, String(CALLS)], {
      env: { ...process.env, UV_THREADPOOL_SIZE: String(CALLS) },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    lookups.stdout!.on('data', (chunk: Buffer) => {
      result += chunk.toString()
    })
  })

  after(async () => {
    signal('SIGCONT')
    await mount.unmount()
  })

  test('.meta/frames can be read, and explains every call', async () => {
    const ofOurs = ({ Stack: stacks }: Frames) =>
      stacks.filter(({ Path }) => Path[0]?.startsWith('/none-') === true)
    let shown = await frames()
    for (let i = 0; ofOurs(shown).length < CALLS && i < 400; i++) {
      await sleep(50)
      shown = await frames()
    }
    const waiting = ofOurs(shown)
    assert.equal(waiting.length, CALLS)
    assert.ok(shown.Call_Count > CALLS)
    for (const stack of waiting) {
      assert.equal(stack.Type, 'LOOKUP')
      assert.ok(stack.Age > 0)
      assert.ok(stack.Waits_in.length > 0)
      // io-threads lets so many at the bricks, the rest queue
      for (const [at, name] of stack.Waits_in.entries()) {
        const index = /^hang-client-(\d)$/.exec(name)?.[1]
        if (index === undefined) assert.match(name, /^hang-(io-threads|disperse-0|replicate-0)$/)
        else assert.equal(stack.Waits_for_brick[at], `node01:${volume.bricks[Number(index)]}`)
      }
    }
    const { Bricks: bricks } = shown
    for (const brick of volume.bricks) assert.ok(bricks[`node01:${brick}`]! >= 10, brick)
  })

  test(`the state dump is complete within ${DUMP_MS_MAX} ms`, async () => {
    process.kill(mount.pid, 'SIGUSR1')
    const began = clock.now()
    let text = ''
    while (!text.includes('DUMP-END-TIME: ')) {
      assert.ok(clock.now() - began < DUMP_MS_MAX, 'no complete dump')
      await sleep(20)
      const file = readdirSync(DUMPS).find((name) => name.startsWith(`glusterdump.${mount.pid}.`))
      if (file !== undefined) text = readFileSync(`${DUMPS}/${file}`, 'latin1')
    }
    const stacks = text.match(/^\[global\.callpool\.stack\.\d+\]$/gm) ?? []
    assert.ok(stacks.length > CALLS, `${stacks.length} stacks`)
    for (const key of [
      'stack=0x',
      'uid=0',
      'gid=0',
      'pid=',
      'unique=',
      'lk-owner=',
      'op=LOOKUP',
      'type=1',
      'cnt=',
      'waits-in=hang-',
      'frame=0x',
      'ref_count=',
      'translator=hang-',
      'complete=0',
      'parent=hang',
      'wind_from=hang.lookup',
      'wind_to=hang-',
      'unwind_to=hang.lookup',
    ]) {
      const count = text.split(`\n${key}`).length - 1
      assert.ok(count >= CALLS, `${key}: ${count}`)
    }
    assert.ok(text.split('\nwaits-for-brick=node01:').length > 50)
    for (const key of [...KEYS, ...shape.keys]) assert.ok(text.includes(`\n${key}`), key)
  })

  test('whoever waits too long is told of once', async () => {
    const told = (): string[] =>
      readFileSync(mount.log, 'latin1')
        .split('\n')
        .filter((line) => line.includes('has been waiting'))
    while (told().length === 0) {
      assert.ok(clock.now() - stopped < PENDING_MS_MAX + 10_000, 'nothing in the log')
      await sleep(200)
    }
    const bricks = volume.bricks.map((brick) => `node01:${brick}`)
    const [line] = told()
    const match = / LOOKUP of \/first has been waiting for (\d+) s in (.*)$/.exec(line!)
    assert.ok(match !== null, line)
    assert.ok(Number(match[1]) >= PENDING_MS_MAX / 1000)
    assert.match(match[2]!, /^hang-client-\d \(lookup\), for brick /)
    assert.ok(bricks.some((brick) => match[2]!.includes(brick)))
    assert.match(line!, / W \[.*\{pid=\d+\}/)
    const first = told().filter((one) => one.includes('/first '))
    assert.equal(first.length, 1)
  })

  test('afterwards all is as before', async () => {
    signal('SIGCONT')
    for (let i = 0; result === '' && i < 400; i++) await sleep(50)
    assert.equal(result, 'ENOENT\n')
    for (let i = 0; (await frames()).Call_Count > 1 && i < 100; i++) await sleep(50)
    assert.equal((await frames()).Call_Count, 1)
  })
})
