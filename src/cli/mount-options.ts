/**
 * Words of `mount -t glusterfs SERVERS:VOLUME DIR -o …` to arguments of `glusterfs`. Pure: what the
 * file system says is looked at by mount-helper.ts.
 */
import { GlusterError } from '../core/errors.ts'
import { parseBool } from '../core/options.ts'

export interface MountCommand {
  /** Arguments of `glusterfs` without the mount point. */
  readonly args: readonly string[]
  /** Lines for standard error; the mount goes on. */
  readonly warnings: readonly string[]
  readonly logFile: string | undefined
}

/** Longer names of servers are left out, as stock does. */
const SERVER_NAME_MAX = 63

/** Options without a value that are flags of the same name. */
const FLAGS = new Set([
  'acl',
  'selinux',
  'worm',
  'enable-ino32',
  'aux-gfid-mount',
  'thin-client',
  'resolve-gids',
  'global-threading',
  'localtime-logging',
])

/** Options that keep their name and value. */
const SAME_NAME = new Set([
  'log-file',
  'direct-io-mode',
  'volume-name',
  'attribute-timeout',
  'entry-timeout',
  'negative-timeout',
  'gid-timeout',
  'lru-limit',
  'invalidate-limit',
  'background-qlen',
  'congestion-threshold',
  'oom-score-adj',
  'busy-poll',
  'prime-lookups',
  'xlator-option',
  'use-readdirp',
  'event-history',
  'reader-thread-count',
  'auto-invalidation',
  'kernel-writeback-cache',
  'attr-times-granularity',
  'dump-fuse',
  'fuse-flush-handle-interrupt',
  'fuse-dev-eperm-ratelimit-ns',
  'io-engine',
])

/** Options whose value goes to an option of another name. */
const RENAMED: Readonly<Record<string, string>> = {
  'server-port': '--volfile-server-port=',
  'fetch-attempts': '--volfile-max-fetch-attempts=',
  'halo-max-latency': '--xlator-option=*replicate*.halo-max-latency=',
  'halo-max-replicas': '--xlator-option=*replicate*.halo-max-replicas=',
  'halo-min-replicas': '--xlator-option=*replicate*.halo-min-replicas=',
}

/** Words of mount(8) the kernel takes. */
const KERNEL_WORD = /^(no)?(atime|diratime|relatime|strictatime|lazyatime|dev|exec|suid)$/
const UNHANDLED =
  /^(async|sync|dirsync|mand|nomand|silent|loud|iversion|noiversion|nofail|mem-accounting)$/
const IGNORED = /^(rw|auto|noauto|_netdev|defaults|x-.*|comment=.*)$/
const CONTEXTS = new Set(['context', 'fscontext', 'defcontext', 'rootcontext'])

const LOG_LEVELS = /^(CRITICAL|ERROR|WARNING|INFO|DEBUG|TRACE|NONE)$/i

class Draft {
  readonly flags: string[] = []
  readonly warnings: string[] = []
  readonly kernelOptions: string[] = []
  readonly servers: string[] = []
  backup: string[] = []
  processName: string | undefined
  transport: string | undefined
  volumeId: string | undefined
  subdir: string | undefined
  logFile: string | undefined
  fuseOptions: string | undefined
}

function refuse(message: string): never {
  throw new GlusterError('BAD_VALUE', message)
}

/** `options` is the argument of `-o`, several joined by commas. Throws GlusterError BAD_VALUE. */
export function mountCommand(device: string, options: string, isFile: boolean): MountCommand {
  const draft = new Draft()
  let snapshot = false
  if (!isFile) snapshot = readDevice(draft, device)
  for (const word of splitOptions(options)) readOption(draft, word)
  if (snapshot && !draft.flags.includes('--read-only')) draft.flags.push('--read-only')
  const kernel = [...draft.kernelOptions]
  if (draft.fuseOptions !== undefined) kernel.push(draft.fuseOptions)
  const args = [...draft.flags]
  if (kernel.length > 0) args.push(`--fuse-mountopts=${kernel.join(',')}`)
  // Two words, as stock writes it: scripts that look for a mount's process compare the text.
  args.push('--process-name', draft.processName ?? 'fuse')
  if (isFile) args.push(`--volfile=${device}`)
  else {
    for (const server of [...draft.servers, ...draft.backup])
      args.push(`--volfile-server=${server}`)
    const { transport } = draft
    if (transport !== undefined) args.push(`--volfile-server-transport=${transport}`)
    args.push(`--volfile-id=${draft.volumeId}${transport === undefined ? '' : `.${transport}`}`)
  }
  if (draft.subdir !== undefined) args.push(`--subdir-mount=${draft.subdir}`)
  return { args, warnings: draft.warnings, logFile: draft.logFile }
}

/** `s1,s2:/vol/sub`; true for a snapshot, which can only be read. */
function readDevice(draft: Draft, device: string): boolean {
  // The last colon before the first slash: IPv6 addresses have colons, and so may paths.
  const match = /^([^/]+):(.+)$/.exec(device)
  const volume = match?.[2]
  const servers = (match?.[1] ?? '').split(',').filter((server) => server !== '')
  for (const server of servers) {
    if (server.length > SERVER_NAME_MAX) draft.warnings.push(`server name too long: ${server}`)
    else draft.servers.push(server.replace(/^\[(.*)\]$/, '$1'))
  }
  if (volume === undefined || volume === '/' || draft.servers.length === 0) {
    refuse(
      'ERROR: Server name/volume name unspecified cannot proceed further..\n' +
        'Please specify correct format\nUsage:\nman 8 mount.glusterfs',
    )
  }
  if (/^\/?snaps\//.test(volume)) {
    draft.volumeId = volume
    return true
  }
  const parts = /^(\/?[^/]+)(\/.*)?$/.exec(volume)
  if (parts === null) refuse(`ERROR: invalid volume in ${device}`)
  draft.volumeId = parts[1]!
  const subdir = parts[2]?.replace(/\/+$/, '')
  if (subdir !== undefined && subdir !== '') draft.subdir = subdir
  return false
}

/** At commas outside double quotes; the quotes are dropped. */
function splitOptions(options: string): string[] {
  const words: string[] = []
  let word = ''
  let quoted = false
  for (const char of options) {
    if (char === '"') quoted = !quoted
    else if (char === ',' && !quoted) {
      words.push(word)
      word = ''
    } else word += char
  }
  words.push(word)
  return words.filter((item) => item !== '')
}

/**
 * What `-o remount,…` changes: the kernel's flags of the mount. The options of the client, which
 * mount(8) adds from fstab, are those it runs with. `undefined`: it is no remount.
 */
export function remountWords(options: string): string[] | undefined {
  const words = splitOptions(options)
  if (!words.includes('remount')) return undefined
  return words.filter((word) => /^r[ow]$/.test(word) || KERNEL_WORD.test(word))
}

function readOption(draft: Draft, word: string): void {
  const equals = word.indexOf('=')
  if (IGNORED.test(word)) return
  if (equals < 0) readFlag(draft, word)
  else readValue(draft, word.slice(0, equals), word.slice(equals + 1))
}

function readFlag(draft: Draft, word: string): void {
  if (word === 'ro') draft.flags.push('--read-only')
  else if (word === 'fopen-keep-cache') draft.flags.push('--fopen-keep-cache')
  else if (word === 'volfile-check') draft.flags.push('--volfile-check')
  else if (FLAGS.has(word)) draft.flags.push(`--${word}`)
  else if (KERNEL_WORD.test(word) || word === 'auto_unmount') draft.kernelOptions.push(word)
  else if (UNHANDLED.test(word)) {
    draft.warnings.push(`mount option '${word}' is not handled (yet?)`)
  } else refuse(`Invalid option ${word}`)
}

function readValue(draft: Draft, key: string, value: string): void {
  const renamed = RENAMED[key]
  if (SAME_NAME.has(key)) {
    draft.flags.push(`--${key}=${value}`)
    if (key === 'log-file') draft.logFile = value
  } else if (key === 'process-name') draft.processName = `fuse.${value}`
  else if (renamed !== undefined) draft.flags.push(`${renamed}${value}`)
  else if (CONTEXTS.has(key)) draft.kernelOptions.push(`${key}="${value}"`)
  else if (key === 'log-level') readLogLevel(draft, value)
  else readSpecial(draft, key, value)
}

function readLogLevel(draft: Draft, value: string): void {
  if (LOG_LEVELS.test(value)) draft.flags.push(`--log-level=${value.toUpperCase()}`)
  else {
    draft.warnings.push(`invalid log level ${value}, using INFO`)
    draft.flags.push('--log-level=INFO')
  }
}

function readSpecial(draft: Draft, key: string, value: string): void {
  switch (key) {
    case 'transport':
      draft.transport = value
      return
    case 'volume-id':
      draft.volumeId = value
      return
    case 'subdir-mount':
      draft.subdir = value.startsWith('/') ? value : `/${value}`
      return
    case 'backup-volfile-servers':
      draft.backup = splitBackups(value)
      return
    case 'backupvolfile-server':
      if (draft.backup.length === 0) draft.backup = [value]
      return
    case 'fuse-mountopts':
      draft.fuseOptions = value
      return
    case 'fopen-keep-cache':
      draft.flags.push(`--fopen-keep-cache=${value}`)
      return
    case 'volfile-check':
      draft.flags.push('--volfile-check')
      return
    case 'no-root-squash':
    case 'root-squash':
      if (parseBool(value) === (key === 'no-root-squash')) draft.flags.push('--no-root-squash')
      return
    default:
      refuse(`Invalid option: ${key}`)
  }
}

/** `a:b:[fe80::1]`. */
function splitBackups(value: string): string[] {
  const servers: string[] = []
  const pattern = /\[([^[\]]+)\](?::|$)|([^:[\]]+)(?::|$)/y
  while (pattern.lastIndex < value.length) {
    const match = pattern.exec(value)
    if (match === null) refuse('ERROR: Invalid backup-volfile-servers specified.. exiting')
    servers.push((match[1] ?? match[2])!)
  }
  return servers
}
