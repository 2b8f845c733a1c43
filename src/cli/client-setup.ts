/** From typed options to what the client needs to start; everything that can be checked at once. */
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { GlusterError } from '../core/errors.ts'
import { parseXlatorOption, type XlatorOption } from '../graph/build.ts'
import type { LogLevelName } from '../observe/log.ts'
import { DEFAULT_TLS_DEPTH } from '../rpc/tls.ts'
import { DEFAULT_VOLFILE, LOG_DIRECTORY } from './help.ts'
import { userId } from './native.ts'
import type { CliValues, CommandLine } from './options.ts'

/** Where the volfile comes from. */
export type VolfileOrigin =
  | { readonly kind: 'file'; readonly path: string }
  | {
      readonly kind: 'server'
      /** In the order they are tried. */
      readonly servers: readonly string[]
      readonly port: number
      readonly transport: 'tcp' | 'unix'
      readonly family: 'inet' | 'inet6' | 'any'
      readonly volfileId: string
    }

export interface ClientSetup {
  readonly values: CliValues
  readonly given: CommandLine['given']
  readonly foreground: boolean
  /** Absolute. */
  readonly mountPoint: string
  readonly origin: VolfileOrigin
  readonly overrides: readonly XlatorOption[]
  /** Absolute; `undefined` = standard error. */
  readonly logFile: string | undefined
  readonly logLevel: LogLevelName
  readonly pidFile: string | undefined
  readonly secureMgmt: boolean
  /** Of certificate chains of glusterd. */
  readonly managementDepth: number
  readonly noEffect: CommandLine['noEffect']
}

/** Its presence switches TLS towards glusterd on. */
const SECURE_ACCESS_FILE = '/var/lib/glusterd/secure-access'

/** Relative paths are taken from the working directory. Throws GlusterError. */
export function checkSetup(commandLine: CommandLine): ClientSetup {
  const { values } = commandLine
  if (commandLine.mountPoint === undefined) {
    throw new GlusterError(
      'BAD_VALUE',
      'glusterfs: no mount point given. USAGE: glusterfs [options] [mountpoint]',
    )
  }
  const origin = volfileOrigin(values)
  const subdir = values['subdir-mount']
  if (subdir !== undefined && !subdir.startsWith('/')) {
    throw new GlusterError(
      'BAD_VALUE',
      `glusterfs: --subdir-mount: '${subdir}' must begin with '/'`,
    )
  }
  if (process.getuid?.() !== 0) {
    throw new GlusterError('MOUNT_FAILED', 'glusterfs: mounting needs root')
  }
  const mountPoint = resolve(commandLine.mountPoint)
  return {
    values: { ...values, 'dump-fuse': recording(values['dump-fuse'], mountPoint) },
    given: commandLine.given,
    foreground: values['no-daemon'] || values.debug,
    mountPoint,
    origin,
    overrides: values['xlator-option'].map(parseXlatorOption),
    logFile: values.debug ? undefined : logFile(values, mountPoint),
    logLevel: values.debug ? 'DEBUG' : (values['log-level'] as LogLevelName),
    pidFile: values['pid-file'] === undefined ? undefined : resolve(values['pid-file']),
    secureMgmt: values['secure-mgmt'] ?? existsSync(SECURE_ACCESS_FILE),
    managementDepth: managementDepth(),
    noEffect: commandLine.noEffect,
  }
}

/** `option transport.socket.ssl-cert-depth N` in the secure-access file. */
function managementDepth(): number {
  let text = ''
  try {
    text = readFileSync(SECURE_ACCESS_FILE, 'latin1')
  } catch {
    // Not there, or nothing in it: the default.
  }
  const depth = /^\s*option\s+transport\.socket\.ssl-cert-depth\s+(\d+)/m.exec(text)?.[1]
  return depth === undefined ? DEFAULT_TLS_DEPTH : Number(depth)
}

/** Absolute. Recording a mount through itself would wait for itself. */
function recording(path: string | undefined, mountPoint: string): string | undefined {
  if (path === undefined) return undefined
  const absolute = resolve(path)
  if (`${absolute}/`.startsWith(`${mountPoint}/`)) {
    throw new GlusterError('BAD_VALUE', `glusterfs: --dump-fuse: ${absolute} is inside the mount`)
  }
  return absolute
}

function volfileOrigin(values: CliValues): VolfileOrigin {
  const servers = values['volfile-server']
  if (servers.length === 0) {
    const path = resolve(values.volfile ?? DEFAULT_VOLFILE)
    if (values.volfile === undefined && !existsSync(path)) {
      throw new GlusterError(
        'BAD_VALUE',
        `glusterfs: neither --volfile-server nor --volfile given, and ${path} does not exist. ` +
          'USAGE: glusterfs [options] [mountpoint]',
      )
    }
    return { kind: 'file', path }
  }
  const volfileId = values['volfile-id']
  if (volfileId === undefined || volfileId === '') {
    throw new GlusterError(
      'BAD_VALUE',
      'glusterfs: --volfile-id (the name of the volume) is missing beside --volfile-server',
    )
  }
  const transport = values['volfile-server-transport']
  return {
    kind: 'server',
    servers: [...new Set(servers)],
    port: values['volfile-server-port'],
    transport: transport === 'unix' ? 'unix' : 'tcp',
    family: transport === 'inet' || transport === 'inet6' ? transport : 'any',
    volfileId,
  }
}

function logFile(values: CliValues, mountPoint: string): string | undefined {
  const given = values['log-file']
  if (given === '-') return undefined
  if (given !== undefined) return resolve(given)
  return `${LOG_DIRECTORY}/${mountPoint.slice(1).replaceAll('/', '-') || 'glusterfs'}.log`
}

/** The volume as the administrator names it. */
export function volumeName(setup: ClientSetup): string {
  const { origin } = setup
  return origin.kind === 'server' ? origin.volfileId.replace(/^\//, '') : origin.path
}

/** What mount tables show: `node01:/vol/sub`. */
function displayName(setup: ClientSetup): string {
  const { origin, values } = setup
  if (origin.kind === 'file') return `glusterfs:${origin.path}`
  return `${origin.servers[0]}:${origin.volfileId}${values['subdir-mount'] ?? ''}`
}

/** Options of the FUSE bridge as volfile texts; what was not given is left to the bridge. */
export function bridgeOptions(setup: ClientSetup): Map<string, string> {
  const { values, given } = setup
  const options = new Map<string, string>([
    ['mountpoint', setup.mountPoint],
    ['fs-display-name', values['fs-display-name'] ?? displayName(setup)],
  ])
  for (const key of BRIDGE_KEYS) {
    const value = values[key]
    if (!given.has(key) || value === undefined) continue
    options.set(key, typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value))
  }
  const mapped = values['user-map-root']
  if (mapped !== undefined) options.set('uid-map-root', String(uidOf(mapped)))
  return options
}

/** Throws GlusterError BAD_VALUE. */
function uidOf(user: string): number {
  const uid = userId(user)
  if (uid !== undefined) return uid
  throw new GlusterError('BAD_VALUE', `glusterfs: --user-map-root: there is no user '${user}'`)
}

/** Options that mean the same to the bridge. */
const BRIDGE_KEYS = [
  'direct-io-mode',
  'entry-timeout',
  'attribute-timeout',
  'negative-timeout',
  'gid-timeout',
  'resolve-gids',
  'read-only',
  'acl',
  'selinux',
  'capability',
  'enable-ino32',
  'fopen-keep-cache',
  'auto-invalidation',
  'use-readdirp',
  'prime-lookups',
  'kernel-writeback-cache',
  'attr-times-granularity',
  'lru-limit',
  'invalidate-limit',
  'background-qlen',
  'congestion-threshold',
  'no-root-squash',
  'client-pid',
  'fuse-mountopts',
  'dump-fuse',
] as const satisfies readonly (keyof CliValues)[]
