/** Extended attributes that are orders to the client, and the names geo-replication uses. */
import { E, type Errno } from '../../../src/core/errno.ts'
import { parseBool } from '../../../src/core/options.ts'
import { parseLogLevel, setDomainLogLevel, setLogLevel } from '../../../src/observe/log.ts'
import type { FuseBridge } from './index.ts'

const SET_LEVEL = /^trusted\.glusterfs\.(?:(.+)\.)?set-log-level$/
const SYSLOG = 'trusted.glusterfs.syslog'

/**
 * Carries out what setting `name` orders: the log level of the process, of this bridge or of one
 * translator. The errno to answer, 0 when done, `undefined` when it is an attribute like others.
 */
export function obey(bridge: FuseBridge, name: string, value: Buffer): 0 | Errno | undefined {
  const text = value.latin1Slice().replace(/\0.*$/s, '')
  if (name === SYSLOG) {
    if (parseBool(text) === undefined) return E.OPNOTSUPP
    bridge.log.info(`${SYSLOG} has no effect: there is no system log`)
    return 0
  }
  const match = SET_LEVEL.exec(name)
  if (match === null) return undefined
  const domain = match[1]
  if (domain !== undefined && domain !== bridge.name && !isTranslator(bridge, domain)) {
    return undefined
  }
  const level = parseLogLevel(text)
  if (level === undefined) return E.OPNOTSUPP
  if (domain === undefined) setLogLevel(level)
  else setDomainLogLevel(domain, level)
  bridge.log.info(`log level of ${domain ?? 'the process'} is ${level} now`)
  return 0
}

const isTranslator = (bridge: FuseBridge, name: string): boolean =>
  bridge.active?.find(name) !== undefined

/** The process id by which geo-replication mounts (GF_CLIENT_PID_GSYNCD). */
export const CLIENT_PID_GSYNCD = -1

const MARK = /^(?:system|trusted)\.(glusterfs\.(?:volume-mark.*|.*\.xtime))$/

/** Geo-replication's marks are `system.` to it and `trusted.` to the bricks. */
export function gsyncdName(name: string): string {
  const match = MARK.exec(name)
  return match === null ? name : `trusted.${match[1]}`
}

/**
 * What geo-replication copies along (`rsync -X` and the like) must not disturb the volume: anything
 * but users' attributes, its own marks, ACLs and orders is taken and dropped.
 */
export function gsyncdDrops(name: string): boolean {
  return /^(trusted|security|system)\./.test(name) && !MARK.test(name) && !isAcl(name)
}

const isAcl = (name: string): boolean => name.startsWith('system.posix_acl_')
