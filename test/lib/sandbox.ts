/**
 * Tests against real GlusterFS servers: a test file that calls `enterSandbox` runs inside private
 * namespaces beside its own glusterd (`sandbox.sh`). Nothing outside is touched, and everything
 * the test started ends with it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { clock } from '../../src/core/clock.ts'

/** The project's root, seen from `dist/test/lib`. */
export const projectRoot = fileURLToPath(new URL('../../../', import.meta.url))
/** Our launcher. */
export const launcher = join(projectRoot, 'bin/glusterfs')
/** Whose mount it is: the installed GlusterFS client's or this project's. */
export type ClientKind = 'stock' | 'ours'

/**
 * The client under test. SANDBOX_CLIENT=stock runs the tests of mounts against the stock client:
 * it shows which of them fail for reasons of their own.
 */
export const ours: ClientKind = process.env.SANDBOX_CLIENT === 'stock' ? 'stock' : 'ours'

/** A test file in the sandbox is killed after this long unless it asks for more. */
const sandboxTimeMaxMs = 20 * 60_000

/** Rounds of telling the self-heal daemon to crawl and looking. */
const healRoundsMax = 60

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve))
}

/** Why tests on real bricks cannot run on this machine, or undefined when they can. */
export function missing(): string | undefined {
  if (process.geteuid?.() !== 0) return 'needs root'
  if (!existsSync('/dev/fuse')) return 'needs /dev/fuse'
  for (const command of ['/usr/sbin/glusterd', '/usr/sbin/gluster', '/usr/sbin/glusterfs']) {
    if (!existsSync(command)) return `needs glusterfs-server (${command} is missing)`
  }
  if (ours === 'ours' && !existsSync(launcher)) return 'bin/glusterfs is missing'
  return undefined
}

/**
 * Call first in a test file. Outside the sandbox it runs the file again inside and ends this
 * process with its status, so that the runner sees one set of tests. Returns inside the sandbox
 * (false), or with the reason why the tests must be skipped; both fit node:test's `skip`.
 */
export async function enterSandbox(
  testFile: string,
  timeMaxMs = sandboxTimeMaxMs,
): Promise<string | false> {
  if (process.env.SANDBOX_DIR !== undefined) return false
  const reason = missing()
  if (reason !== undefined) return reason
  const path = fileURLToPath(testFile)
  const logs = join(projectRoot, 'dist/test-logs', basename(path, '.js'))
  const child = spawn(
    join(projectRoot, 'test/lib/sandbox.sh'),
    [process.execPath, ...process.execArgv, path, ...process.argv.slice(2)],
    { stdio: 'inherit', env: { ...process.env, SANDBOX_LOGS: logs } },
  )
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  process.on('SIGINT', () => child.kill('SIGTERM'))
  clock.after(timeMaxMs, () => child.kill('SIGTERM'), true)
  const status = await exitStatus(child)
  if (status !== 0) process.stderr.write(`sandbox: gluster's logs are in ${logs}\n`)
  process.exit(status)
}

/** Puts a command before it in the hands of the user `nobody`. */
export const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']

/** Why `nobody` cannot run the project's programs: below /root, say, or `mktemp -d`; else false. */
export function nobodySkip(): string | false {
  const [command = '', ...words] = [...asNobody, 'test', '-r', launcher]
  if (process.geteuid?.() !== 0) return 'needs root'
  if (spawnSync(command, words).status === 0) return false
  return 'other users cannot read the project: a directory above it is closed to them'
}

function exitStatus(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.on('error', () => resolve(127))
    child.on('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)))
  })
}

export interface RunOptions {
  /** Killed after this long (milliseconds, 120,000 unless told). */
  timeoutMs?: number
  cwd?: string
  env?: Record<string, string>
  input?: string
  /** True: a status other than 0 is returned, not thrown. */
  mayFail?: boolean
}

export interface RunResult {
  status: number
  stdout: string
  stderr: string
}

/** Runs a command to its end; its output comes back. Throws with its output when it fails. */
export async function run(command: string[], options: RunOptions = {}): Promise<RunResult> {
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: options.cwd,
    env: { ...process.env, LC_ALL: 'C', ...options.env },
  })
  // a command that ends without reading its input is no error here
  child.stdin.on('error', () => {})
  child.stdin.end(options.input ?? '')
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
  let late = false
  const timer = clock.after(options.timeoutMs ?? 120_000, () => {
    late = true
    child.kill('SIGKILL')
    // a process stuck in the kernel cannot die: do not wait for its pipes
    child.stdout.destroy()
    child.stderr.destroy()
    child.emit('close', 137, null)
  })
  const status = await new Promise<number>((resolve) => {
    child.on('error', () => resolve(127))
    child.on('close', (code) => resolve(code ?? 128))
  })
  timer.clear()
  const result = {
    status,
    stdout: Buffer.concat(out).toString('latin1'),
    stderr: Buffer.concat(err).toString('latin1'),
  }
  if (status !== 0 && options.mayFail !== true) {
    const what = late ? `still running after ${options.timeoutMs ?? 120_000} ms` : `exit ${status}`
    throw new Error(
      `${command.join(' ')}: ${what}\n${result.stdout.slice(-3000)}\n${result.stderr.slice(-3000)}`,
    )
  }
  return result
}

export function sh(script: string, options: RunOptions = {}): Promise<RunResult> {
  return run(['bash', '-euo', 'pipefail', '-c', script], options)
}

/** The stock administrator's command. */
export async function gluster(...args: string[]): Promise<string> {
  return (await run(['gluster', '--mode=script', ...args])).stdout
}

/** Scratch space of this sandbox on a real file system. */
export function space(name: string): string {
  const base = process.env.SANDBOX_DIR
  if (base === undefined) throw new Error('not in the sandbox: call enterSandbox first')
  return join(base, name)
}

export class Mount {
  readonly dir: string
  readonly kind: ClientKind
  readonly pid: number
  readonly log: string

  constructor(dir: string, kind: ClientKind, pid: number, log: string) {
    this.dir = dir
    this.kind = kind
    this.pid = pid
    this.log = log
  }

  alive(): boolean {
    return existsSync(`/proc/${this.pid}`)
  }

  /** Resident memory of the client in MiB. */
  rssMib(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'latin1')
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
  }

  /** Unmounts and waits for the client to end. */
  async unmount(): Promise<void> {
    await run(['umount', this.dir], { timeoutMs: 20_000 })
    for (let i = 0; i < 800 && this.alive(); i++) await sleep(25)
    if (this.alive()) throw new Error(`${this.kind} client ${this.pid} outlives its mount`)
  }
}

export interface MountOptions {
  /** Options of node for our client, such as ['--cpu-prof']. */
  nodeFlags?: string[]
  /** A volfile to take instead of the server's. */
  volfile?: string
}

/** The volume's `group metadata-cache`: upcalls reach the client, which believes them. */
export const CACHED: Readonly<Record<string, string>> = {
  'features.cache-invalidation': 'on',
  'features.cache-invalidation-timeout': '600',
  'performance.stat-prefetch': 'on',
  'performance.cache-invalidation': 'on',
  'performance.md-cache-timeout': '600',
}

export interface VolumeOptions {
  bricks: number
  /** `volume create` words between name and bricks, such as ['disperse', '3']. */
  layout?: string[]
  /** `volume set` before the start. */
  set?: Record<string, string>
}

let mounts = 0
/** A busy machine may stand still for half a minute. */
const MOUNT_MAX_MS = 90_000

export class Volume {
  readonly name: string
  readonly bricks: string[]
  /** Command lines of bricks that were killed, by index. */
  readonly #killed = new Map<number, string[]>()

  constructor(name: string, bricks: string[]) {
    this.name = name
    this.bricks = bricks
  }

  /** Creates and starts a volume with bricks on this machine. */
  static async create(name: string, options: VolumeOptions): Promise<Volume> {
    const bricks = Array.from({ length: options.bricks }, (_, i) => space(`bricks/${name}-${i}`))
    mkdirSync(space('bricks'), { recursive: true })
    const words = ['volume', 'create', name, ...(options.layout ?? [])]
    await gluster(...words, ...bricks.map((brick) => `node01:${brick}`), 'force')
    const set = Object.entries(options.set ?? {}).flat()
    if (set.length > 0) await gluster('volume', 'set', name, ...set)
    await gluster('volume', 'start', name)
    return new Volume(name, bricks)
  }

  /** Adds one more brick; the volume is not rebalanced. */
  async addBrick(): Promise<void> {
    const brick = space(`bricks/${this.name}-${this.bricks.length}`)
    await gluster('volume', 'add-brick', this.name, `node01:${brick}`, 'force')
    this.bricks.push(brick)
  }

  async set(key: string, value: string): Promise<void> {
    await gluster('volume', 'set', this.name, key, value)
  }

  /** Mounts the volume; `args` are added to the client's command line. */
  async mount(kind: ClientKind, args: string[] = [], options: MountOptions = {}): Promise<Mount> {
    const id = `${this.name}-${kind}-${mounts++}`
    const dir = space(`mnt/${id}`)
    const log = `/var/log/glusterfs/${id}.log`
    const pidFile = `/run/${id}.pid`
    mkdirSync(dir, { recursive: true })
    const node = options.nodeFlags === undefined ? [] : [process.execPath, ...options.nodeFlags]
    const command = kind === 'stock' ? ['/usr/sbin/glusterfs'] : [...node, launcher]
    const { volfile } = options
    const server =
      volfile === undefined
        ? ['--volfile-server=node01', `--volfile-id=${this.name}`]
        : [`--volfile=${volfile}`]
    await run([...command, ...server, '-l', log, '-p', pidFile, ...args, dir], {
      timeoutMs: MOUNT_MAX_MS,
    })
    const pid = Number(readFileSync(pidFile, 'latin1').trim())
    return new Mount(dir, kind, pid, log)
  }

  /** Process id of a brick, undefined when it does not run. */
  brickPid(index: number): number | undefined {
    const dir = `/run/gluster/vols/${this.name}`
    const suffix = `${this.bricks[index]!.replaceAll('/', '-')}.pid`
    const file = readdirSync(dir).find((name) => name.endsWith(suffix))
    if (file === undefined) return undefined
    const pid = Number(readFileSync(join(dir, file), 'latin1').trim())
    return pid > 0 && existsSync(`/proc/${pid}`) ? pid : undefined
  }

  /** kill -9 of a brick's process. */
  async killBrick(index: number): Promise<void> {
    const pid = this.brickPid(index)
    if (pid === undefined) throw new Error(`brick ${index} of ${this.name} is not running`)
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').slice(0, -1)
    this.#killed.set(index, words)
    process.kill(pid, 'SIGKILL')
    for (let i = 0; i < 100 && existsSync(`/proc/${pid}`); i++) await sleep(10)
  }

  /** Ends a volume that is not needed any more: faster than stopping it. */
  async killBricks(): Promise<void> {
    for (const i of this.bricks.keys()) await this.killBrick(i)
  }

  /** Starts a brick that was killed, on its old port: ten times as fast as through glusterd. */
  async restartBrick(index: number): Promise<void> {
    const words = this.#killed.get(index)
    if (words === undefined) throw new Error(`brick ${index} of ${this.name} was not killed`)
    this.#killed.delete(index)
    // Files that this process has open on a mount must not be open in the brick for ever.
    const close = 'for n in $(ls /proc/$$/fd); do [ "$n" -lt 3 ] || eval "exec $n>&-"; done'
    await run(['bash', '-c', `${close}; exec "$@"`, 'brick', ...words])
  }

  /** Starts the bricks that do not run. */
  async startBricks(): Promise<void> {
    await gluster('volume', 'start', this.name, 'force')
  }

  /** Until the self-heal daemon has nothing left to do; it crawls when told. */
  async healed(): Promise<void> {
    let info = ''
    for (let i = 0; i < healRoundsMax; i++) {
      await gluster('volume', 'heal', this.name).catch(() => {})
      await sleep(2000)
      info = await gluster('volume', 'heal', this.name, 'info')
      if (!/entries: [1-9-]/.test(info)) return
    }
    throw new Error(`the volume does not heal: ${info.slice(0, 2000)}`)
  }

  async destroy(): Promise<void> {
    await gluster('volume', 'stop', this.name, 'force')
    await gluster('volume', 'delete', this.name)
    await run(['rm', '-rf', ...this.bricks])
  }
}

/** Stops a process and waits until none of its threads runs: they go on for a moment. */
export async function stopProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  const runs = (thread: string): boolean =>
    !/^\d+ \(.*\) T/.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1'))
  while (readdirSync(`/proc/${pid}/task`).some(runs)) await sleep(5)
}
