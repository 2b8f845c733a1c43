/**
 * `npm start`: an embedded volume on directories of this machine, mounted, until Ctrl-C. A second
 * start finds the same files.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { exitStatus } from '../cli/exit-status.ts'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import { checkMountPoint } from '../fuse/mount.ts'
import { ask } from './control.ts'
import { processStart, signal } from './run-file.ts'
import { parseType } from './shape.ts'
import { type Shape, setWidth, shapeText, type Volume, VolumeStore } from './volume.ts'

const HOST = '127.0.0.1'
const VOLUME = 'demo'
const POLL_MS = 50
const SERVER_START_MAX_MS = 15_000
const MOUNT_END_MAX_MS = 10_000
const TYPES = "distribute, K+R for a dispersed volume, 'replica 3', or arbiter"

const bin = (name: string): string =>
  fileURLToPath(new URL(`../../../bin/${name}`, import.meta.url))
const say = (line: string): void => void process.stdout.write(`${line}\n`)
const sleep = (ms: number): Promise<void> => new Promise((done) => void clock.after(ms, done))
const refuse = (why: string): GlusterError => new GlusterError('VOLUME_STATE', why)

interface Settings {
  directory: string
  mount: string
  port: string
  type: string
  bricks?: string
}

class Demo {
  readonly #settings: Settings
  readonly #store: VolumeStore
  readonly #mountPoint: string
  readonly #shape: Shape
  #server: ChildProcess | undefined
  #serverError = ''
  /** Ends when it is decided whether the mount is there. */
  #mounting: Promise<void> | undefined
  #mounted = false
  #madeMountPoint = false
  #ending: Promise<void> | undefined

  /** Throws GlusterError. */
  constructor(settings: Settings) {
    this.#settings = settings
    this.#shape = parseType(settings.type)
    this.#store = new VolumeStore(settings.directory)
    this.#mountPoint = resolve(settings.mount)
  }

  get isEnding(): boolean {
    return this.#ending !== undefined
  }

  /** Until the volume is mounted. Throws GlusterError. */
  async run(): Promise<void> {
    await this.#checkUnused()
    await this.#endOldMount()
    this.#makeMountPoint()
    await checkMountPoint(this.#mountPoint)
    const known = this.#known()
    // Ctrl-C may come at any time; whatever was begun is ended by `end`.
    if (!this.isEnding) await this.#serve()
    if (this.isEnding) return
    const volume = known ?? this.#create()
    await this.#startBricks()
    if (!this.isEnding) await this.#mount()
    if (!this.isEnding) this.#tell(volume)
  }

  async #checkUnused(): Promise<void> {
    const answer = ask(this.#store.path('control.sock'), { command: 'list' })
    // One that refuses to answer is there, too.
    if ((await answer.catch(() => true)) === undefined) return
    const why = 'is in use: a management server runs there; end it, or choose another --directory'
    throw refuse(`${this.#store.directory} ${why}`)
  }

  #makeMountPoint(): void {
    try {
      this.#madeMountPoint = mkdirSync(this.#mountPoint, { recursive: true }) !== undefined
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw refuse(`mount point ${this.#mountPoint}: no directory, and cannot be made: ${code}`)
    }
  }

  /** A start that was killed may have left its mount. */
  async #endOldMount(): Promise<void> {
    const pid = this.#mountPid()
    if (pid === undefined || !isAlive(pid)) return
    say('ending the mount of a start that was killed')
    await this.#endMount(pid)
  }

  /** Of the mount's process, if the process of that id is one. */
  #mountPid(): number | undefined {
    try {
      const pid = Number(readFileSync(this.#pidFile, 'utf8'))
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      return words.includes(this.#pidFile) ? pid : undefined
    } catch {
      return undefined
    }
  }

  async #endMount(pid: number): Promise<void> {
    signal(pid, 'SIGTERM')
    for (let waited = 0; isAlive(pid) && waited < MOUNT_END_MAX_MS; waited += POLL_MS) {
      await sleep(POLL_MS)
    }
    // It left its signal unanswered: what is mounted goes with it all the same.
    if (isAlive(pid)) signal(pid, 'SIGKILL')
    rmSync(this.#pidFile, { force: true })
  }

  /** Unmounts, ends the bricks and the server; once, whoever asks. */
  end(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<void> {
    await this.#mounting?.catch(() => undefined)
    if (this.#mounted) {
      say('unmounting')
      const pid = this.#mountPid()
      if (pid !== undefined) await this.#endMount(pid)
    }
    const server = this.#server
    if (server !== undefined && server.exitCode === null && server.signalCode === null) {
      say('stopping the bricks')
      const ended = new Promise<void>((done) => server.once('exit', () => done()))
      server.kill('SIGTERM')
      await ended
    }
    if (this.#madeMountPoint) removeEmpty(this.#mountPoint)
  }

  get #pidFile(): string {
    return this.#store.path('mount.pid')
  }

  /** The volume of an earlier start. Throws GlusterError when that is of another type. */
  #known(): Volume | undefined {
    const { directory } = this.#store
    if (!this.#store.has(VOLUME)) return undefined
    const volume = this.#store.load(VOLUME)
    const shapes = [volume, this.#shape].map(({ disperse, replica }) => [disperse, replica])
    if (JSON.stringify(shapes[0]) !== JSON.stringify(shapes[1])) {
      const { type, bricks } = shapeText(volume)
      const what = `it holds a volume of type ${type}, ${bricks}`
      throw refuse(`${directory} is in use: ${what}; choose another --directory`)
    }
    say(`volume ${VOLUME}: found in ${directory}`)
    return volume
  }

  #create(): Volume {
    const { bricks } = this.#settings
    const count = bricks === undefined ? Math.max(2, setWidth(this.#shape)) : Number(bricks)
    if (!Number.isInteger(count) || count < 1) throw refuse(`--bricks ${bricks} is no number`)
    const paths = Array.from({ length: count }, (_, i) => this.#store.path('bricks', `${i + 1}`))
    const volume = this.#store.create(VOLUME, this.#shape, paths)
    say(`volume ${VOLUME}: created in ${this.#store.directory}`)
    return volume
  }

  async #serve(): Promise<void> {
    const control = this.#store.path('control.sock')
    const server = this.#forkServer()
    for (let waited = 0; waited < SERVER_START_MAX_MS; waited += POLL_MS) {
      if (server.exitCode !== null || server.signalCode !== null) {
        const why = this.#serverError.trim().replace(/^gluster-ts: /, '')
        throw refuse(why.includes('is taken') ? `${why}; choose another with --port` : why)
      }
      if ((await ask(control, { command: 'list' })) !== undefined) {
        server.once('exit', (code, killed) => this.#serverDied(killed ?? `status ${code ?? 0}`))
        return
      }
      await sleep(POLL_MS)
    }
    throw refuse('the management server did not start')
  }

  #forkServer(): ChildProcess {
    const words = ['-d', this.#store.directory, '-p', this.#settings.port, 'serve']
    // A session of its own: Ctrl-C is for us, and the mount must go before its bricks.
    const server = fork(bin('gluster-ts'), words, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#server = server
    this.#serverError = ''
    server.stdout?.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n')) if (line.startsWith('brick ')) this.#brickDied(line)
    })
    server.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#serverError += text
    })
    return server
  }

  /** The bricks and the mount go on without it; a new one finds them. */
  #serverDied(how: string): void {
    if (this.#ending !== undefined) return
    say(`the management server died (${how}); bricks and mount go on; starting it again`)
    void this.#serve().catch((error: unknown) => {
      if (this.#ending === undefined) say(error instanceof Error ? error.message : String(error))
    })
  }

  #brickDied(line: string): void {
    if (this.#ending !== undefined) return
    say(line.replace('gluster-ts', `bin/gluster-ts -d ${this.#store.directory}`))
  }

  async #startBricks(): Promise<void> {
    const control = this.#store.path('control.sock')
    const request = { command: 'start', volume: VOLUME, force: true } as const
    const answer = await ask(control, request)
    for (const { path, port, pid } of answer?.bricks ?? []) {
      say(`brick ${path}: process ${pid}, port ${port}`)
    }
  }

  #mount(): Promise<void> {
    this.#mounting = this.#mountNow()
    return this.#mounting
  }

  async #mountNow(): Promise<void> {
    const log = this.#store.path('logs', 'mount.log')
    const words = [`--volfile-server=${HOST}`, `--volfile-server-port=${this.#settings.port}`]
    words.push(`--volfile-id=${VOLUME}`, '-l', log, '-p', this.#pidFile, this.#mountPoint)
    const child = spawn(process.execPath, [bin('glusterfs'), ...words], {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let text = ''
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    const status = await new Promise<number | null>((done) => child.once('exit', done))
    if (status !== 0) throw refuse(`cannot mount: ${text.trim().replace(/^glusterfs: /, '')}`)
    this.#mounted = true
  }

  #tell({ disperse, replica, bricks }: Volume): void {
    const command = `sudo bin/gluster-ts -d ${this.#store.directory}`
    const hello = `${this.#mountPoint}/hello`
    const hints: [what: string, how: string][] = [
      ['write a file', `echo hello > ${hello}`],
      ['see the bricks and their processes', `${command} status ${VOLUME}`],
    ]
    const lost =
      disperse?.redundancy ?? (replica === undefined ? 0 : Math.ceil(replica.count / 2) - 1)
    if (lost > 0) {
      hints.push(
        [`kill up to ${lost} brick${lost > 1 ? 's' : ''}`, 'sudo kill -9 PID'],
        ['the file is still there, and can be written', `cat ${hello}`],
        ['bring the bricks back', `${command} start ${VOLUME} force`],
        ['repair what they missed', `${command} heal ${VOLUME}`],
      )
    }
    hints.push(['see what a brick holds', `sudo ls -l ${bricks[0]}`])
    say(`\nMounted on ${this.#mountPoint}. Try, in another terminal:\n`)
    for (const [what, how] of hints) say(`  # ${what}\n  ${how}`)
    say('\nCtrl-C unmounts and stops everything; the files stay for the next start.')
  }
}

const isAlive = (pid: number): boolean => processStart(pid) !== undefined

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Somebody put something there, or is in it.
  }
}

function needs(): void {
  if (process.geteuid?.() !== 0) throw refuse('mounting and bricks need root: sudo npm start')
  if (existsSync('/dev/fuse')) return
  throw refuse('/dev/fuse is missing: load the module (modprobe fuse)')
}

async function main(): Promise<void> {
  let demo: Demo | undefined
  const stop = (): void => {
    if (demo === undefined) process.exit(0)
    void demo.end().then(() => process.exit(0))
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  process.on('SIGHUP', stop)
  const command = new Command('npm start --')
    .option('--directory <dir>', 'where bricks, logs and state are', '/var/lib/glusterfs-ts/demo')
    .option('--mount <dir>', 'where to mount it', '/mnt/glusterfs-ts')
    .option('--type <type>', TYPES, '4+2')
    .option('--bricks <n>', 'number of bricks')
    .option('--port <port>', 'port of the management server', '24007')
    .parse()
  try {
    needs()
    demo = new Demo(command.opts<Settings>())
    await demo.run()
  } catch (error) {
    // What fails because it is being ended is no failure.
    const wasEnding = demo?.isEnding === true
    await demo?.end()
    if (wasEnding) return
    process.stderr.write(`npm start: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(exitStatus(error))
  }
}

void main()
