/** The `gluster-ts` command: embedded volumes on this machine, in the words of `gluster volume`. */
import { spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import { startLog } from '../observe/log.ts'
import { LogFile } from '../observe/log-file.ts'
import { GLUSTERD_PORT } from '../rpc/portmap.ts'
import { ask, type Request, serveControl } from '../server/control.ts'
import { healVolume, pendingHeals } from '../server/heal.ts'
import { ManagementServer } from '../server/management.ts'
import { parseShape, VolumeStore } from '../server/volume.ts'
import { exitStatus } from './exit-status.ts'

const DEFAULT_DIRECTORY = '/var/lib/glusterfs-ts'
const HOST = '127.0.0.1'
/** How long a server may take to answer on its socket, ms. */
const SERVER_START_MAX_MS = 10_000
const SERVER_POLL_MS = 100

const launcher = fileURLToPath(new URL('../../../bin/gluster-ts', import.meta.url))
const say = (line: string): void => void process.stdout.write(`${line}\n`)
const sleep = (ms: number): Promise<void> => new Promise((done) => void clock.after(ms, done))

interface Globals {
  directory: string
  port: string
}

export async function main(words: readonly string[] = process.argv.slice(2)): Promise<void> {
  try {
    await program().parseAsync(words, { from: 'user' })
  } catch (error) {
    const isKnown = error instanceof GlusterError
    process.stderr.write(`gluster-ts: ${isKnown ? error.message : String(error)}\n`)
    process.exitCode = exitStatus(error)
  }
}

function program(): Command {
  const command = new Command('gluster-ts')
    .description('Volumes on the directories of this machine, for trying out and for tests')
    .option('-d, --directory <dir>', 'where volumes, logs and the socket are', DEFAULT_DIRECTORY)
    .option('-p, --port <port>', 'port of the management server', String(GLUSTERD_PORT))
  const globals = (): Globals => command.opts<Globals>()
  const store = (): VolumeStore => new VolumeStore(globals().directory)
  command
    .command('create <volume> <bricks...>')
    .option('--disperse <K+R>', 'every K+R bricks hold K parts of data and survive the loss of R')
    .description('make a volume of brick directories')
    .action((name: string, bricks: string[], { disperse }: { disperse?: string }) => {
      needRoot()
      store().create(name, disperse === undefined ? undefined : parseShape(disperse), bricks)
      say(`volume create: ${name}: success: please start the volume to access data`)
    })
  command
    .command('start <volume> [force]')
    .description('start its bricks; with force, those that are not running')
    .action((volume: string, force?: string) => start(globals(), volume, force === 'force'))
  command
    .command('stop <volume>')
    .description('stop its bricks')
    .action(async (volume: string) => {
      await must(store(), { command: 'stop', volume })
      say(`volume stop: ${volume}: success`)
    })
  command
    .command('status <volume>')
    .description('which bricks are running')
    .action((volume: string) => status(store(), volume))
  command
    .command('heal <volume> [info]')
    .description('repair what bricks missed; with info, only say how much that is')
    .action((volume: string, info?: string) => heal(store(), volume, info === 'info'))
  command
    .command('destroy <volume>')
    .option('--data', 'remove the bricks and everything in them')
    .description('forget a stopped volume')
    .action((name: string, { data }: { data?: boolean }) => {
      const volume = store().load(name)
      if (volume.started) {
        throw new GlusterError('VOLUME_STATE', `volume '${name}' is started: stop it first`)
      }
      store().destroy(volume, data === true)
      say(`volume destroy: ${name}: success`)
    })
  command
    .command('shutdown')
    .description('end the management server and all bricks')
    .action(async () => void (await must(store(), { command: 'shutdown' })))
  command
    .command('serve')
    .description('run the management server in the foreground')
    .action(() => serve(globals()))
  return command
}

function needRoot(): void {
  if (process.geteuid?.() === 0) return
  throw new GlusterError('VOLUME_STATE', 'bricks keep trusted.* xattrs: root is needed (sudo)')
}

const controlOf = (store: VolumeStore): string => store.path('control.sock')

/** Throws GlusterError when no server runs. */
async function must(store: VolumeStore, request: Request) {
  const answer = await ask(controlOf(store), request)
  if (answer === undefined) {
    const why = `no management server runs in ${store.directory} (gluster-ts start starts one)`
    throw new GlusterError('SERVER_UNREACHABLE', why)
  }
  return answer
}

async function start(globals: Globals, volume: string, force: boolean): Promise<void> {
  needRoot()
  const store = new VolumeStore(globals.directory)
  store.load(volume)
  const request: Request = { command: 'start', volume, force }
  if ((await ask(controlOf(store), request)) === undefined) {
    await startServer(globals, store)
    // It starts by itself what was started when it ended.
    if (!store.load(volume).started) await must(store, request)
  }
  say(`volume start: ${volume}: success`)
}

async function startServer(globals: Globals, store: VolumeStore): Promise<void> {
  const log = openSync(store.path('logs', 'start.log'), 'w')
  const words = ['-d', store.directory, '-p', globals.port, 'serve']
  const child = spawn(process.execPath, [launcher, ...words], {
    detached: true,
    stdio: ['ignore', log, log],
  })
  child.unref()
  let ended = false
  child.once('exit', () => {
    ended = true
  })
  const volume = store.names()[0] ?? ''
  for (let waited = 0; waited < SERVER_START_MAX_MS && !ended; waited += SERVER_POLL_MS) {
    await sleep(SERVER_POLL_MS)
    if (await ask(controlOf(store), { command: 'status', volume })) return
  }
  const where = store.path('logs', 'start.log')
  throw new GlusterError('SERVER_UNREACHABLE', `the management server did not start: see ${where}`)
}

async function status(store: VolumeStore, volume: string): Promise<void> {
  const answer = await must(store, { command: 'status', volume })
  say(`Status of volume: ${volume}`)
  say(`${'Brick'.padEnd(50)} ${'Port'.padStart(6)}  Online  Pid`)
  for (const brick of answer.bricks) {
    const { path, port, online, pid } = brick
    const shown = [path.padEnd(50), String(online ? port : 'N/A').padStart(6)]
    say(`${shown.join(' ')}  ${online ? 'Y' : 'N'}       ${pid ?? 'N/A'}`)
  }
}

async function heal(store: VolumeStore, name: string, infoOnly: boolean): Promise<void> {
  const volume = store.load(name)
  if (infoOnly) {
    const left = pendingHeals(volume).reduce((sum, set) => sum + set.size, 0)
    say(`Number of entries: ${left}`)
    return
  }
  const { port } = await must(store, { command: 'status', volume: name })
  const left = await healVolume(volume, HOST, port, (count) => say(`${count} to heal`))
  say(left === 0 ? `volume heal: ${name}: success` : `${left} cannot be healed now`)
  if (left > 0) process.exitCode = 1
}

async function serve({ directory, port }: Globals): Promise<void> {
  needRoot()
  const store = new VolumeStore(directory)
  if (
    (await ask(controlOf(store), { command: 'status', volume: '' }).catch(() => true)) !== undefined
  ) {
    const why = `${store.directory} is in use by another management server`
    throw new GlusterError('VOLUME_STATE', why)
  }
  startLog(new LogFile(store.path('logs', 'management.log')), 'INFO', {
    json: false,
    localtime: false,
    repeatWindowMs: 120_000,
  })
  const management = new ManagementServer({
    store,
    host: HOST,
    port: Number(port),
    onBrickDied: (volume, path, how) =>
      say(`brick ${path} died (${how}); bring it back: gluster-ts start ${volume} force`),
  })
  await management.open()
  let ending = false
  const end = async (): Promise<void> => {
    if (ending) return
    ending = true
    control.close()
    await management.close()
    process.exit(0)
  }
  const control = await serveControl(controlOf(store), management, () => void end())
  process.on('SIGTERM', () => void end())
  process.on('SIGINT', () => void end())
  // Started by a program that is gone.
  process.on('disconnect', () => void end())
  say(`listening on ${HOST}:${management.port}`)
}
