/**
 * Embedded volumes for tests: bricks and management server of our own as processes, mounted by our
 * client or the stock one. Needs root and /dev/fuse, no GlusterFS.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Shape, VolumeStore } from '../../src/server/volume.ts'
import { brickSkip } from './brick-bench.ts'
import {
  type ClientKind,
  launcher,
  Mount,
  projectRoot,
  type RunResult,
  run,
  sleep,
} from './sandbox.ts'

const command = join(projectRoot, 'bin/gluster-ts')
export const stockClient = '/usr/sbin/glusterfs'
const EVENTUALLY_POLLS_MAX = 200
const EVENTUALLY_POLL_MS = 50

/** Why embedded volumes cannot be mounted here; false when they can. */
export function embeddedSkip(): string | false {
  if (process.geteuid?.() !== 0) return 'needs root'
  if (!fs.existsSync('/dev/fuse')) return 'needs /dev/fuse'
  return brickSkip()
}

export const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0))
    })
  })
}

/** Asks again until it is so; fails after 10 s. */
export async function eventually(
  what: string,
  check: () => boolean | Promise<boolean>,
): Promise<void> {
  for (let i = 0; i < EVENTUALLY_POLLS_MAX; i++) {
    if (await check()) return
    await sleep(EVENTUALLY_POLL_MS)
  }
  assert.fail(`never: ${what}`)
}

export const isMounted = (path: string): boolean =>
  fs.readFileSync('/proc/self/mounts', 'latin1').includes(` ${path} `)

/** The words of `volume create` for a shape, stock's and ours. */
export function layoutOf({ disperse, replica }: Shape): string[] {
  if (disperse !== undefined) {
    const { data, redundancy } = disperse
    return ['disperse-data', String(data), 'redundancy', String(redundancy)]
  }
  if (replica === undefined) return []
  const arbiter = replica.arbiter === 1 ? ['arbiter', '1'] : []
  return ['replica', String(replica.count), ...arbiter]
}

/** A volume `vol` in a directory of its own, with its own management server. */
export class Embedded {
  readonly directory: string
  readonly mountPoint: string
  bricks: readonly string[]
  port = 0
  #mounts = 0

  /** `base`: where its directory is made; the system's temporary directory unless told. */
  constructor(bricks: number, base = tmpdir()) {
    fs.mkdirSync(base, { recursive: true })
    this.directory = fs.mkdtempSync(join(base, 'glusterfs-ts-embedded-'))
    // Tests act as other users, too.
    fs.chmodSync(this.directory, 0o755)
    this.mountPoint = join(this.directory, 'mnt')
    fs.mkdirSync(this.mountPoint)
    this.bricks = Array.from({ length: bricks }, (_, i) => join(this.directory, `b${i + 1}`))
  }

  gluster(...words: string[]): Promise<RunResult> {
    return run([command, '-d', this.directory, '-p', String(this.port), ...words])
  }

  fails(...words: string[]): Promise<RunResult> {
    const all = [command, '-d', this.directory, '-p', String(this.port), ...words]
    return run(all, { mayFail: true })
  }

  async start(shape: string[]): Promise<void> {
    this.port = await freePort()
    await this.gluster('create', 'vol', ...shape, ...this.bricks)
    await this.gluster('start', 'vol')
  }

  /** Instead of `start`: bricks that are there already, of a stock volume `vol` that is stopped. */
  async serve(id: string, bricks: readonly string[], shape: Shape): Promise<void> {
    this.port = await freePort()
    this.bricks = bricks
    const store = new VolumeStore(this.directory)
    store.save({ name: 'vol', id, bricks, started: false, ...shape })
    await this.gluster('start', 'vol')
  }

  async mount(kind: ClientKind = 'ours', args: string[] = []): Promise<void> {
    await this.#mountOn(this.mountPoint, kind, args)
  }

  /** One more mount, at a place of its own. */
  async mountMore(kind: ClientKind, args: string[] = []): Promise<Mount> {
    const name = `mnt-${kind}-${this.#mounts++}`
    const dir = join(this.directory, name)
    fs.mkdirSync(dir)
    return this.#mountOn(dir, kind, args)
  }

  async #mountOn(dir: string, kind: ClientKind, args: string[]): Promise<Mount> {
    const program = kind === 'stock' ? stockClient : launcher
    const server = ['--volfile-server=127.0.0.1', `--volfile-server-port=${this.port}`]
    const files = ['-l', `${dir}.log`, '-p', `${dir}.pid`]
    await run([program, ...server, '--volfile-id=vol', ...files, ...args, dir])
    await eventually('mounted', () => isMounted(dir))
    const pid = Number(fs.readFileSync(`${dir}.pid`, 'latin1').trim())
    return new Mount(dir, kind, pid, `${dir}.log`)
  }

  async unmount(): Promise<void> {
    if (isMounted(this.mountPoint)) await run(['umount', this.mountPoint])
  }

  /** Process of brick number `n`, from 1; undefined while it does not run. */
  async pid(n: number): Promise<number | undefined> {
    const { stdout } = await this.gluster('status', 'vol')
    const row = new RegExp(`:${this.bricks[n - 1]}\\s+\\S+\\s+[YN]\\s+(\\d+)$`, 'm').exec(stdout)
    return row === null ? undefined : Number(row[1])
  }

  async kill(n: number): Promise<void> {
    const pid = await this.pid(n)
    assert.ok(pid !== undefined, `brick ${n} runs`)
    process.kill(pid, 'SIGKILL')
    await eventually('the brick is known to be down', async () => (await this.pid(n)) === undefined)
  }

  /** The management server alone, by kill -9. */
  async killServer(): Promise<void> {
    const { stdout } = await run(['pgrep', '-f', `${this.directory} -p ${this.port} serve`])
    const pid = Number(stdout.trim())
    process.kill(pid, 'SIGKILL')
    await eventually('the server is gone', () => !fs.existsSync(`/proc/${pid}`))
  }

  async end(): Promise<void> {
    for (const line of fs.readFileSync('/proc/self/mounts', 'latin1').split('\n')) {
      const dir = line.split(' ')[1] ?? ''
      if (dir.startsWith(`${this.directory}/`)) await run(['umount', '-l', dir])
    }
    await this.fails('shutdown')
    await eventually(
      'the server is gone',
      () => !fs.existsSync(join(this.directory, 'control.sock')),
    )
    fs.rmSync(this.directory, { recursive: true, force: true })
  }
}
