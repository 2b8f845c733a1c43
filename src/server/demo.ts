/**
 * `npm start`: an embedded volume on directories of this machine, mounted, until Ctrl-C. A second
 * start finds the same files.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { exitStatus } from '../cli/exit-status.ts'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import { checkMountPoint } from '../fuse/mount.ts'
import { ask } from './control.ts'
import { parseShape, type Volume, VolumeStore } from './volume.ts'

const HOST = '127.0.0.1'
const VOLUME = 'demo'
const POLL_MS = 50
const SERVER_START_MAX_MS = 15_000
const MOUNT_END_MAX_MS = 10_000

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
  #server: ChildProcess | undefined
  #serverError = ''
  /** Ends when it is decided whether the mount is there. */
  #mounting: Promise<void> | undefined
  #mounted = false
  #ending: Promise<void> | undefined

  constructor(settings: Settings) {
    this.#settings = settings
    this.#store = new VolumeStore(settings.directory)
    this.#mountPoint = resolve(settings.mount)
  }

  /** Until the volume is mounted. Throws GlusterError. */
  async run(): Promise<void> {
    mkdirSync(this.#mountPoint, { recursive: true })
    await checkMountPoint(this.#mountPoint)
    await this.#checkUnused()
    const volume = this.#volume()
    // Ctrl-C may come at any time; whatever was begun is ended by `end`.
    for (const step of [this.#serve, this.#startBricks, this.#mount]) {
      if (this.#ending === undefined) await step.call(this)
    }
    if (this.#ending === undefined) this.#tell(volume)
  }

  async #checkUnused(): Promise<void> {
    const answer = ask(this.#store.path('control.sock'), { command: 'status', volume: VOLUME })
    // One that refuses to answer is there, too.
    if ((await answer.catch(() => true)) === undefined) return
    const why = 'is in use: a management server runs there; end it, or choose another --directory'
    throw refuse(`${this.#store.directory} ${why}`)
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
      const pid = Number(readFileSync(this.#pidFile, 'utf8'))
      signal(pid, 'SIGTERM')
      for (let waited = 0; isAlive(pid) && waited < MOUNT_END_MAX_MS; waited += POLL_MS) {
        await sleep(POLL_MS)
      }
      rmSync(this.#pidFile, { force: true })
    }
    const server = this.#server
    if (server !== undefined && server.exitCode === null && server.signalCode === null) {
      say('stopping the bricks')
      const ended = new Promise<void>((done) => server.once('exit', () => done()))
      server.kill('SIGTERM')
      await ended
    }
  }

  get #pidFile(): string {
    return this.#store.path('mount.pid')
  }

  #volume(): Volume {
    const { type, bricks } = this.#settings
    const shape = type === 'distribute' ? undefined : parseShape(type.replace(/^disperse[ =]?/, ''))
    if (this.#store.has(VOLUME)) {
      const volume = this.#store.load(VOLUME)
      if (JSON.stringify(volume.disperse) !== JSON.stringify(shape)) {
        const { directory } = this.#store
        throw refuse(`${directory} is in use by a volume of another type: choose --directory`)
      }
      say(`volume ${VOLUME}: found in ${this.#store.directory}`)
      return volume
    }
    const width = shape === undefined ? 2 : shape.data + shape.redundancy
    const count = bricks === undefined ? width : Number(bricks)
    const paths = Array.from({ length: count }, (_, i) => this.#store.path('bricks', `${i + 1}`))
    const volume = this.#store.create(VOLUME, shape, paths)
    say(`volume ${VOLUME}: created in ${this.#store.directory}`)
    return volume
  }

  async #serve(): Promise<void> {
    const control = this.#store.path('control.sock')
    const words = ['-d', this.#store.directory, '-p', this.#settings.port, 'serve']
    // A session of its own: Ctrl-C is for us, and the mount must go before its bricks.
    const server = fork(bin('gluster-ts'), words, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    this.#server = server
    server.stdout?.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n')) if (line.startsWith('brick ')) this.#brickDied(line)
    })
    server.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#serverError += text
    })
    for (let waited = 0; waited < SERVER_START_MAX_MS; waited += POLL_MS) {
      if (server.exitCode !== null) {
        const why = this.#serverError.trim().replace(/^gluster-ts: /, '')
        throw refuse(why.includes('is taken') ? `${why}; choose another with --port` : why)
      }
      if ((await ask(control, { command: 'status', volume: VOLUME })) !== undefined) return
      await sleep(POLL_MS)
    }
    throw refuse('the management server did not start')
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

  #tell({ disperse, bricks }: Volume): void {
    const command = `sudo bin/gluster-ts -d ${this.#store.directory}`
    const hello = `${this.#mountPoint}/hello`
    const hints: [what: string, how: string][] = [
      ['write a file', `echo hello > ${hello}`],
      ['see the bricks and their processes', `${command} status ${VOLUME}`],
    ]
    if (disperse !== undefined) {
      hints.push(
        [`kill up to ${disperse.redundancy} bricks`, 'sudo kill -9 PID'],
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

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

const isAlive = (pid: number): boolean => signal(pid, 0)

async function main(): Promise<void> {
  const command = new Command('npm start --')
    .option('--directory <dir>', 'where bricks, logs and state are', '/var/lib/glusterfs-ts/demo')
    .option('--mount <dir>', 'where to mount it', '/mnt/glusterfs-ts')
    .option('--type <type>', 'distribute, or K+R for a dispersed volume', '4+2')
    .option('--bricks <n>', 'number of bricks')
    .option('--port <port>', 'port of the management server', '24007')
    .parse()
  let demo: Demo | undefined
  const stop = (): void => void demo?.end().then(() => process.exit())
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  process.on('SIGHUP', stop)
  try {
    if (process.geteuid?.() !== 0) throw refuse('mounting and bricks need root: sudo npm start')
    if (!existsSync('/dev/fuse'))
      throw refuse('/dev/fuse is missing: load the module (modprobe fuse)')
    demo = new Demo(command.opts<Settings>())
    await demo.run()
  } catch (error) {
    await demo?.end()
    process.stderr.write(`npm start: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(exitStatus(error))
  }
}

void main()
