/**
 * `mount.glusterfs`, what `mount -t glusterfs SERVERS:VOLUME DIR -o …` runs: checks the directory,
 * runs `glusterfs`, looks whether the mount answers.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findMount } from '../fuse/mount.ts'
import { LOG_DIRECTORY, versionText } from './help.ts'
import { mountCommand, remountWords } from './mount-options.ts'
import { hasXattr } from './native.ts'

const USAGE = `Usage: mount.glusterfs SERVER[,SERVER...]:VOLUME[/SUBDIR] DIRECTORY [-o OPTIONS]
       mount.glusterfs VOLFILE DIRECTORY [-o OPTIONS]
`

const EXIT_USAGE = 1
/** mount(8): the mount failed. */
const EXIT_MOUNTED_ALREADY = 32
const EXIT_CANNOT_MOUNT_THERE = 2

/** The text goes to standard error, the status to mount(8). */
class MountRefused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

interface Request {
  device: string | undefined
  directory: string | undefined
  options: string[]
  action: 'mount' | 'version' | 'usage'
}

export async function main(words: readonly string[] = process.argv.slice(2)): Promise<void> {
  try {
    const request = readWords(words)
    if (request.action === 'mount') await mountVolume(request)
    else process.stdout.write(request.action === 'version' ? versionText() : USAGE)
  } catch (error) {
    const status = error instanceof MountRefused ? error.status : EXIT_USAGE
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = status
  }
}

/** As mount(8) calls helpers: `DEVICE DIR [-sfnv] [-o OPTIONS] [-t TYPE]`, in any order. */
function readWords(words: readonly string[]): Request {
  const request: Request = {
    device: undefined,
    directory: undefined,
    options: [],
    action: 'mount',
  }
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '-o') request.options.push(words[++i] ?? '')
    else if (word.startsWith('-o')) request.options.push(word.slice(2))
    else if (word === '-t' || word === '-N') i++
    else if (word === '-V' || word === '--version') request.action = 'version'
    else if (word === '-h' || word === '--help') request.action = 'usage'
    else if (word === '-r') request.options.push('ro')
    else if (/^-[snvfw]+$/.test(word)) continue
    else if (word.startsWith('-')) throw new MountRefused(EXIT_USAGE, `Invalid option ${word}`)
    else if (request.device === undefined) request.device = word
    else if (request.directory === undefined) request.directory = word
    else throw new MountRefused(EXIT_USAGE, `unexpected argument ${word}\n${USAGE}`)
  }
  return request
}

async function mountVolume(request: Request): Promise<void> {
  const { device, options } = request
  if (device === undefined || request.directory === undefined) {
    throw new MountRefused(EXIT_USAGE, USAGE.trimEnd())
  }
  const directory = resolve(request.directory)
  const changes = remountWords(options.join(','))
  if (changes !== undefined) return remount(directory, changes)
  const isFile = existsSync(device) && statSync(device).isFile()
  const command = mountCommand(isFile ? resolve(device) : device, options.join(','), isFile)
  for (const warning of command.warnings) process.stderr.write(`${warning}\n`)
  checkDirectory(directory)
  keepUpdatedbAway()
  const program = fileURLToPath(new URL('../../../bin/glusterfs', import.meta.url))
  const run = spawnSync(process.execPath, [program, ...command.args, directory], {
    stdio: 'inherit',
  })
  if (run.status !== 0) {
    throw new MountRefused(EXIT_USAGE, `Mounting glusterfs on ${directory} failed.`)
  }
  await checkAnswers(directory, command.logFile)
}

/** Without the helper, mount(8) changes the kernel's flags itself. */
function remount(directory: string, changes: readonly string[]): void {
  const mounted = findMount(directory)
  if (mounted?.type !== 'fuse.glusterfs') {
    throw new MountRefused(EXIT_MOUNTED_ALREADY, `mount.glusterfs: ${directory} is not mounted`)
  }
  const options = ['remount', ...changes].join(',')
  const words = ['-i', '-t', mounted.type, '-o', options, mounted.source, directory]
  const run = spawnSync('mount', words, { stdio: 'inherit' })
  process.exitCode = run.status ?? EXIT_USAGE
}

function checkDirectory(directory: string): void {
  // Looked up in the table, not with stat: a dead mount would not answer.
  if (findMount(directory)?.type === 'fuse.glusterfs') {
    throw new MountRefused(
      EXIT_MOUNTED_ALREADY,
      `/sbin/mount.glusterfs: according to mtab, GlusterFS is already mounted on ${directory}`,
    )
  }
  if (!existsSync(directory) || !statSync(directory).isDirectory()) {
    throw new MountRefused(EXIT_USAGE, 'ERROR: Mount point does not exist')
  }
  if (directory === '/' || directory === '/tmp') {
    const name = directory === '/' ? 'root' : directory
    throw new MountRefused(EXIT_CANNOT_MOUNT_THERE, `Cannot mount over ${name}`)
  }
  for (let at = directory; at !== '/'; at = dirname(at)) {
    if (!hasXattr(at, 'trusted.gfid')) continue
    throw new MountRefused(
      EXIT_CANNOT_MOUNT_THERE,
      `ERROR: ${directory} is in use as a brick of a gluster volume`,
    )
  }
}

/** glusterfs said it is mounted; a missing sub-directory, say, shows only now. */
async function checkAnswers(directory: string, logFile: string | undefined): Promise<void> {
  try {
    await stat(directory)
  } catch {
    await new Promise((done) => {
      const child = spawn('umount', ['-i', '-l', directory], { cwd: '/', stdio: 'ignore' })
      child.on('close', done)
      child.on('error', done)
    })
    const log = logFile ?? `${LOG_DIRECTORY}/${directory.slice(1).replaceAll('/', '-')}.log`
    throw new MountRefused(EXIT_USAGE, `Mount failed. Check the log file ${log} for more details.`)
  }
}

const UPDATEDB = '/etc/updatedb.conf'

/** locate's nightly walk over every mounted volume is what nobody wants. */
function keepUpdatedbAway(): void {
  try {
    const text = readFileSync(UPDATEDB, 'utf8')
    const line = /^(\s*PRUNEFS\s*=\s*")([^"]*)"/m.exec(text)
    if (line === null || line[2]!.split(/\s+/).includes('fuse.glusterfs')) return
    writeFileSync(
      UPDATEDB,
      text.replace(line[0], `${line[1]}${line[2]!.trimEnd()} fuse.glusterfs"`),
    )
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') process.stderr.write(`warning: cannot update ${UPDATEDB}: ${code}\n`)
  }
}
