/**
 * A volume that changes under load: verified work, held and waiting locks and a half-read directory
 * on our mount, while an administrator changes options and bricks. A second mount, made from a
 * volfile on disk and so never changed, looks whether the locks still hold on the bricks.
 */
import assert from 'node:assert/strict'
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { E } from '../../src/core/errno.ts'
import { type LoadKind, type LoadResult, startLoad } from './load.ts'
import { Peer } from './peer.ts'
import { gluster, launcher, type Mount, run, sh, sleep, space, type Volume } from './sandbox.ts'
import { O } from './syscalls.ts'

/** A change of the volume must have reached the mount after this long (ms). */
const appliedMaxMs = 60_000
const pollMs = 50
const names = 500

/** Options whose switching changes the graph of a client. */
export const graphToggles = [
  'performance.write-behind',
  'performance.quick-read',
  'performance.open-behind',
  'performance.stat-prefetch',
  'performance.client-io-threads',
] as const

/** Options that a running graph takes over, with a value that is not the default. */
export const valueChanges: readonly (readonly [key: string, value: string])[] = [
  ['network.ping-timeout', '30'],
  ['cluster.min-free-disk', '5%'],
  ['cluster.lookup-optimize', 'off'],
  ['cluster.readdir-optimize', 'on'],
  ['network.frame-timeout', '900'],
  ['performance.flush-behind', 'off'],
  ['performance.md-cache-timeout', '5'],
  ['diagnostics.client-sys-log-level', 'ERROR'],
]

/** Established connections of the mount's process. */
export async function connections(mount: Mount): Promise<number> {
  const { stdout } = await run(['ss', '-Htnp', 'state', 'established'])
  return stdout.split('\n').filter((line) => line.includes(`pid=${mount.pid},`)).length
}

/** How often `text` is in the mount's log. */
export function logged(mount: Mount, text: string): number {
  return readFileSync(mount.log, 'latin1').split(text).length - 1
}

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < appliedMaxMs; waited += pollMs) {
    if (await check()) return
    await sleep(pollMs)
  }
  assert.fail(`not within ${appliedMaxMs / 1000} s: ${what}`)
}

/** What is read of V8's heap snapshots. */
interface HeapSnapshot {
  snapshot: { meta: { node_fields: string[]; node_types: string[][] } }
  nodes: number[]
  strings: string[]
}

/** `undefined` while it is being written. */
function parseSnapshot(text: string): HeapSnapshot | undefined {
  try {
    return JSON.parse(text) as HeapSnapshot
  } catch {
    return undefined
  }
}

export class LiveVolume {
  readonly volume: Volume
  readonly mount: Mount
  /** Of every load process that ended. */
  readonly results: LoadResult[] = []
  readonly #locks: Locks
  #working = false
  #loads: Promise<void>[] = []
  #turn = 0

  private constructor(volume: Volume, mount: Mount, locks: Locks) {
    this.volume = volume
    this.mount = mount
    this.#locks = locks
  }

  static async start(volume: Volume): Promise<LiveVolume> {
    const nodeFlags = ['--heapsnapshot-signal=SIGPROF', `--diagnostic-dir=${space('')}`]
    const mount = await volume.mount('ours', [], { nodeFlags })
    return new LiveVolume(volume, mount, await Locks.take(volume, mount))
  }

  /** Load processes that come one after the other until `rest`. */
  work(processes: number, turnSeconds: number, kind: LoadKind = 'all'): void {
    this.#working = true
    const worker = async (): Promise<void> => {
      while (this.#working) {
        const turn = this.#turn++
        const result = await startLoad(`${this.mount.dir}/load-${turn}`, turn, turnSeconds, kind)
        assert.deepEqual(result.problems, [])
        this.results.push(result)
      }
    }
    this.#loads = Array.from({ length: processes }, worker)
  }

  async rest(): Promise<void> {
    this.#working = false
    await Promise.all(this.#loads.splice(0))
  }

  get operations(): number {
    return this.results.reduce((sum, result) => sum + result.operations, 0)
  }

  /** Changes the volume and waits until the mount has a new graph; then the locks still hold. */
  async switchGraph(change: () => Promise<unknown>): Promise<void> {
    const before = logged(this.mount, 'switched to graph')
    const doomed = openSync(`${this.mount.dir}/doomed`, 'w+')
    unlinkSync(`${this.mount.dir}/doomed`)
    writeSync(doomed, 'still', 0)
    await change()
    await until('a new graph', () => logged(this.mount, 'switched to graph') > before)
    await this.#locks.check()
    writeSync(doomed, ' there', 5)
    const found = Buffer.alloc(20)
    assert.equal(found.latin1Slice(0, readSync(doomed, found, 0, 20, 0)), 'still there')
    assert.equal(fstatSync(doomed).size, 11)
    closeSync(doomed)
  }

  /** Changes the volume and waits until the running graph has taken it over. */
  async reconfigure(change: () => Promise<unknown>): Promise<void> {
    const text = 'translators reconfigured'
    const before = logged(this.mount, text)
    await change()
    await until('a reconfigured graph', () => logged(this.mount, text) > before)
    await this.#locks.check()
  }

  finishListing(): Promise<void> {
    return this.#locks.finishListing()
  }

  checkLocks(): Promise<void> {
    return this.#locks.check()
  }

  /** Every graph but the newest has ended. */
  async settled(): Promise<void> {
    const switches = logged(this.mount, 'switched to graph')
    await until('the old graphs end', () => logged(this.mount, ' is stopped') >= switches)
  }

  /** How many objects of a class the mount's process holds. */
  async held(className: string): Promise<number> {
    const find = (): string | undefined =>
      readdirSync(space('')).find((name) => name.endsWith('.heapsnapshot'))
    process.kill(this.mount.pid, 'SIGPROF')
    let snapshot: HeapSnapshot | undefined
    await until('a heap snapshot', () => {
      const name = find()
      if (name === undefined) return false
      snapshot = parseSnapshot(readFileSync(space(name), 'utf8'))
      if (snapshot !== undefined) rmSync(space(name))
      return snapshot !== undefined
    })
    const { nodes, strings } = snapshot!
    const { node_fields: fields, node_types: types } = snapshot!.snapshot.meta
    const [type, name] = [fields.indexOf('type'), fields.indexOf('name')]
    const object = types[type]!.indexOf('object')
    let count = 0
    for (let at = 0; at < nodes.length; at += fields.length) {
      if (nodes[at + type] === object && strings[nodes[at + name]!] === className) count++
    }
    return count
  }

  /** The lock passes from its holder to who waited all the time; the directory can be read on. */
  async end(): Promise<void> {
    await this.rest()
    await this.#locks.release()
    assert.ok(this.mount.alive())
  }
}

/** A lock held, a lock waited for, and a directory read up to its middle, through one mount. */
class Locks {
  readonly #holder = new Peer()
  readonly #waiter = new Peer()
  readonly #checker = new Peer()
  readonly #witness: string
  readonly #found = new Set<string>()
  #held = -1
  #wanted = -1
  #checked = -1
  #directory = -1
  #listed = false
  #granted: number | undefined

  private constructor(witness: string) {
    this.#witness = witness
  }

  static async take(volume: Volume, mount: Mount): Promise<Locks> {
    const witness = space(`mnt/${volume.name}-witness`)
    mkdirSync(witness, { recursive: true })
    const volfile = space(`${volume.name}.vol`)
    const served = `/var/lib/glusterd/vols/${volume.name}/trusted-${volume.name}.tcp-fuse.vol`
    writeFileSync(volfile, readFileSync(served))
    await run([launcher, '-f', volfile, '-l', '/var/log/glusterfs/witness.log', witness])
    const locks = new Locks(witness)
    await locks.#open(mount)
    return locks
  }

  async #open(mount: Mount): Promise<void> {
    const path = `${mount.dir}/locked`
    writeFileSync(path, 'x'.repeat(100))
    await sh(
      `mkdir '${mount.dir}/names' && cd '${mount.dir}/names' && seq -f %g ${names} | xargs touch`,
    )
    this.#held = await this.#holder.open(path, O.O_RDWR)
    await this.#holder.must('setlk', this.#held, 'write', 10, 20)
    this.#wanted = await this.#waiter.open(path, O.O_RDWR)
    this.#waiter.call('setlkw', this.#wanted, 'write', 0, 50).then((answer) => {
      this.#granted = Number(answer)
    }, assert.fail)
    this.#checked = await this.#checker.open(`${this.#witness}/locked`, O.O_RDWR)
    this.#directory = await this.#holder.open(`${mount.dir}/names`, O.O_RDONLY)
    await this.#list(1024)
    await this.check()
  }

  /** Reads on in the directory: one getdents of that size. How many names came. */
  async #list(size: number): Promise<number> {
    const answer = await this.#holder.call('getdents', this.#directory, size)
    assert.ok(Array.isArray(answer), `getdents: ${JSON.stringify(answer)}`)
    for (const { name } of answer as { name: string }[]) {
      assert.ok(!this.#found.has(name), `${name} is listed twice`)
      this.#found.add(name)
    }
    return answer.length
  }

  async check(): Promise<void> {
    const got = await this.#checker.call('setlk', this.#checked, 'write', 10, 20)
    assert.equal(got, -E.AGAIN, 'the lock is lost: another client got it')
    assert.equal(this.#granted, undefined, 'who waited got the lock that is held')
    assert.equal(await this.#holder.call('pwrite', this.#held, { bytes: 'y' }, 3), 1)
  }

  /** Every name comes, and only once. */
  async finishListing(): Promise<void> {
    if (this.#listed) return
    this.#listed = true
    while ((await this.#list(4096)) > 0) {}
    assert.equal(this.#found.size, names + 2, 'the directory lists every name')
  }

  async release(): Promise<void> {
    await this.finishListing()
    await this.#holder.must('setlk', this.#held, 'unlock', 10, 20)
    await until('who waited gets the lock', () => this.#granted !== undefined)
    assert.equal(this.#granted, 0)
    assert.equal(await this.#checker.call('setlk', this.#checked, 'write', 10, 20), -E.AGAIN)
    await this.#waiter.must('setlk', this.#wanted, 'unlock', 0, 0)
    assert.equal(await this.#checker.call('setlk', this.#checked, 'write', 10, 20), 0)
    for (const peer of [this.#holder, this.#waiter, this.#checker]) await peer.end()
    await run(['umount', this.#witness])
  }
}

export interface Changes {
  /** Load processes. */
  processes: number
  /** `volume set` and `volume reset` of values the running graph takes over. */
  values: number
  /** add-brick with fix-layout. */
  added: number
  /** What the load processes do meanwhile. */
  whileAdding: LoadKind
  /** Then a brick is taken away again, with its files moved first. */
  removed: 0 | 1
}

/** Changes of a volume under load, one after the other. */
export async function changeVolume(live: LiveVolume, changes: Changes): Promise<void> {
  const { volume } = live
  live.work(changes.processes, 10)
  for (let done = 0; done < changes.values; done++) {
    const [key, value] = valueChanges[Math.floor(done / 2) % valueChanges.length]!
    await live.reconfigure(() =>
      done % 2 === 0 ? volume.set(key, value) : gluster('volume', 'reset', volume.name, key),
    )
  }
  if (changes.whileAdding !== 'all') {
    await live.rest()
    live.work(changes.processes, 10, changes.whileAdding)
  }
  for (let added = 0; added < changes.added; added++) {
    await live.switchGraph(() => volume.addBrick())
    await gluster('volume', 'rebalance', volume.name, 'fix-layout', 'start')
    await completed(volume, 'rebalance')
    await live.checkLocks()
  }
  await live.rest()
  if (changes.removed === 0) return
  await live.finishListing()
  // While the copier moves files, listings may show a file twice and truncated files may grow
  // back, through any client.
  live.work(changes.processes, 10, 'writer')
  const brick = `node01:${volume.bricks.at(-1)!}`
  const words = ['volume', 'remove-brick', volume.name, brick]
  await live.reconfigure(() => gluster(...words, 'start'))
  await completed(volume, 'remove-brick')
  await live.checkLocks()
  await live.switchGraph(async () => {
    // The copier skips a file that is replaced meanwhile; then it has to look once more.
    for (let again = 0; again < 3; again++) {
      const { status } = await run(['gluster', '--mode=script', ...words, 'commit'], {
        mayFail: true,
      })
      if (status === 0) return
      await gluster(...words, 'stop')
      await gluster(...words, 'start')
      await completed(volume, 'remove-brick')
    }
    assert.fail('the copier leaves files on the brick')
  })
  volume.bricks.pop()
  await live.rest()
}

async function completed(volume: Volume, operation: 'rebalance' | 'remove-brick'): Promise<void> {
  const brick = operation === 'rebalance' ? [] : [`node01:${volume.bricks.at(-1)!}`]
  await until(`the end of ${operation}`, async () => {
    const status = await gluster('volume', operation, volume.name, ...brick, 'status')
    assert.ok(!/failed\b(?! )/.test(status), status)
    return status.includes('completed')
  })
}
