/** The `gluster-ts` command: embedded volumes on this machine, in the words of `gluster volume`. */
import { spawn } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import type { Server } from 'node:net'
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
import { signal } from '../server/run-file.ts'
import { parseCreate, parseDisperse } from '../server/shape.ts'
import { setWidth, type Volume, VolumeStore } from '../server/volume.ts'
import { lockForLife } from '../sys/lock.ts'
import { exitStatus } from './exit-status.ts'
import { healInfoText, infoText, statusText } from './volume-text.ts'

const DEFAULT_DIRECTORY = '/var/lib/glusterfs-ts'
const HOST = '127.0.0.1'
/** How long a server may take to answer on its socket, ms. */
const SERVER_START_MAX_MS = 10_000
const SERVER_POLL_MS = 50

const launcher = fileURLToPath(new URL('../../../bin/gluster-ts', import.meta.url))
const say = (line: string): void => void process.stdout.write(`${line}\n`)
const sleep = (ms: number): Promise<void> => new Promise((done) => void clock.after(ms, done))
const refuse = (why: string): GlusterError => new GlusterError('VOLUME_STATE', why)

interface Globals {
  directory: string
  port: string
}

export async function main(words: readonly string[] = process.argv.slice(2)): Promise<void> {
  try {
    await program().parseAsync(withoutVolume(words), { from: 'user' })
  } catch (error) {
    const isKnown = error instanceof GlusterError
    process.stderr.write(`gluster-ts: ${isKnown ? error.message : String(error)}\n`)
    process.exitCode = exitStatus(error)
    // Else the channel to a parent would keep it waiting.
    if (process.connected) process.disconnect()
  }
}

/** `gluster-ts volume start vol` is `gluster-ts start vol`. */
function withoutVolume(words: readonly string[]): string[] {
  const at = words.findIndex(
    (word, i) => !word.startsWith('-') && !/^-[dp]$/.test(words[i - 1] ?? ''),
  )
  return words.filter((word, i) => i !== at || word !== 'volume')
}

function program(): Command {
  const command = new Command('gluster-ts')
    .description('Volumes on the directories of this machine, for trying out and for tests')
    .option('-d, --directory <dir>', 'where volumes, logs and the socket are', DEFAULT_DIRECTORY)
    .option('-p, --port <port>', 'port of the management server', String(GLUSTERD_PORT))
  const globals = (): Globals => command.opts<Globals>()
  const store = (): VolumeStore => {
    needRoot()
    return new VolumeStore(globals().directory)
  }
  addVolumeCommands(command, store)
  command
    .command('start <volume> [force]')
    .description('start its bricks; with force, those that are not running')
    .action((volume: string, force?: string) =>
      start(globals(), store(), volume, force === 'force'),
    )
  command
    .command('shutdown')
    .description('end the management server and all bricks')
    .action(async () => {
      await must(store(), { command: 'shutdown' })
      say('shutdown: success')
    })
  command
    .command('serve')
    .description('run the management server in the foreground')
    .action(() => serve(globals(), store()))
  return command
}

function addVolumeCommands(command: Command, store: () => VolumeStore): void {
  command
    .command('create <volume> <words...>')
    .option('--disperse <K+R>', 'every K+R bricks hold K parts of data and survive the loss of R')
    .usage('<volume> [disperse N] [redundancy N] [replica N [arbiter 1]] <brick directories...>')
    .description('make a volume of brick directories')
    .action((name: string, words: string[], { disperse }: { disperse?: string }) => {
      const { shape, bricks } = parseCreate(words)
      const given = disperse === undefined ? shape : { disperse: parseDisperse(disperse) }
      store().create(name, given, bricks)
      say(`volume create: ${name}: success: please start the volume to access data`)
    })
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
    .action(async (volume: string) => {
      const { bricks } = await must(store(), { command: 'status', volume })
      say(statusText(volume, bricks))
    })
  command
    .command('info [volume]')
    .description('what volumes are made of')
    .action((name?: string) => {
      const known = volumes(store(), name)
      for (const volume of known) say(infoText(volume))
      if (known.length === 0) say('No volumes present')
    })
  command
    .command('list')
    .description('the volumes')
    .action(() => {
      const known = volumes(store())
      for (const { name } of known) say(name)
      if (known.length === 0) say('No volumes present')
    })
  addChanges(command, store)
}

function addChanges(command: Command, store: () => VolumeStore): void {
  command
    .command('set <volume> <option> <value>')
    .description('change an option, such as performance.write-behind off')
    .action(async (volume: string, option: string, value: string) => {
      await must(store(), { command: 'set', volume, option, value })
      say('volume set: success')
    })
  command
    .command('reset <volume> <option>')
    .description('back to the default of an option')
    .action(async (volume: string, option: string) => {
      await must(store(), { command: 'set', volume, option })
      say('volume reset: success: reset volume successful')
    })
  command
    .command('heal <volume> [info]')
    .description('repair what bricks missed; with info, only say what that is')
    .action((volume: string, info?: string) => heal(store(), volume, info === 'info'))
  command
    .command('destroy <volume>')
    .alias('delete')
    .option('--data', 'remove the bricks and everything in them')
    .description('forget a stopped volume')
    .action((name: string, { data }: { data?: boolean }) => {
      const known = store()
      const volume = known.load(name)
      if (volume.started) throw refuse(`volume '${name}' is started: stop it first`)
      known.destroy(volume, data === true)
      say(`volume destroy: ${name}: success`)
    })
}

function needRoot(): void {
  if (process.geteuid?.() === 0) return
  throw refuse('bricks keep trusted.* xattrs: root is needed (sudo)')
}

function volumes(store: VolumeStore, name?: string): Volume[] {
  if (name !== undefined) return [store.load(name)]
  return store.names().map((one) => store.load(one))
}

const controlOf = (store: VolumeStore): string => store.path('control.sock')

/** Throws GlusterError when no server runs. */
async function must(store: VolumeStore, request: Request) {
  if ('volume' in request) store.load(request.volume)
  const answer = await ask(controlOf(store), request)
  if (answer !== undefined) return answer
  const why = `no management server runs in ${store.directory}; gluster-ts start starts one`
  throw new GlusterError('SERVER_UNREACHABLE', `${why} (bricks that run are found again)`)
}

async function start(
  globals: Globals,
  store: VolumeStore,
  volume: string,
  force: boolean,
): Promise<void> {
  store.load(volume)
  const request: Request = { command: 'start', volume, force }
  if ((await ask(controlOf(store), request)) === undefined) {
    await startServer(globals, store)
    // It starts by itself what was started when it ended; what then does not run, says why here.
    const again = store.load(volume).started
    await must(store, { ...request, force: force || again })
  }
  say(`volume start: ${volume}: success`)
}

async function startServer(globals: Globals, store: VolumeStore): Promise<void> {
  const where = store.path('logs', 'start.log')
  const log = openSync(where, 'w')
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
  for (let waited = 0; waited < SERVER_START_MAX_MS && !ended; waited += SERVER_POLL_MS) {
    await sleep(SERVER_POLL_MS)
    if (await ask(controlOf(store), { command: 'list' })) return
  }
  const said = readFileSync(where, 'utf8').trim().split('\n').at(-1) ?? ''
  const why = said.replace(/^gluster-ts: /, '')
  throw new GlusterError('SERVER_UNREACHABLE', `the management server did not start: ${why}`)
}

async function heal(store: VolumeStore, name: string, infoOnly: boolean): Promise<void> {
  const volume = store.load(name)
  if (setWidth(volume) === 1) throw refuse(`Volume ${name} is not of type replicate or disperse`)
  const { port, bricks } = await must(store, { command: 'status', volume: name })
  if (infoOnly) {
    say(healInfoText(bricks))
    return
  }
  if (!volume.started) throw refuse(`Volume ${name} is not started.`)
  const left = await healVolume(volume, HOST, port, (count) => say(`${count} to heal`))
  if (left === 0) {
    say(`volume heal: ${name}: success`)
    return
  }
  const sets = pendingHeals(volume).filter(({ size }) => size > 0).length
  say(`${left} cannot be healed now (${sets} sets of bricks): are all bricks up?`)
  process.exitCode = 1
}

/** Two servers on one directory would each start the bricks. Throws GlusterError. */
function claimDirectory(store: VolumeStore): void {
  if (!lockForLife(store.path('volumes'))) {
    throw refuse(`${store.directory} is in use by another management server`)
  }
}

async function serve({ port }: Globals, store: VolumeStore): Promise<void> {
  claimDirectory(store)
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
  let control: Server | undefined
  let ending = false
  const end = async (): Promise<void> => {
    if (ending) return
    ending = true
    control?.close()
    await management.close()
    process.exit(0)
  }
  process.on('SIGTERM', () => void end())
  process.on('SIGINT', () => void end())
  process.on('SIGHUP', () => void end())
  // Started by `npm start`, which was killed: its mount goes, too.
  process.on('disconnect', () => {
    endMount(store.path('mount.pid'))
    void end()
  })
  // Whoever reads our lines may be gone.
  process.stdout.on('error', () => undefined)
  await management.open()
  control = await serveControl(controlOf(store), management, () => void end())
  await management.startAll()
  say(`listening on ${HOST}:${management.port}`)
}

function endMount(pidFile: string): void {
  try {
    signal(Number(readFileSync(pidFile, 'utf8')), 'SIGTERM')
  } catch {
    // It was not mounted.
  }
}
