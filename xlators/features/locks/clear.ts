/**
 * Locks taken away through getxattr: `glusterfs.clrlk.t<type>.k<kind>[.<range or name>]` of
 * `gluster volume clear-locks`, and `glusterfs.intrlk.…` by which a client gives up a blocked POSIX
 * lock whose system call was interrupted.
 */
import type { Client } from '../../../src/core/client.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { END_OF_FILE } from './domain.ts'
import type { LockedObject } from './object.ts'

export interface ClearRequest {
  type: 'inode' | 'entry' | 'posix'
  kinds: { granted: boolean; blocked: boolean }
  /** inode, posix. */
  range: { start: bigint; end: bigint } | undefined
  /** entry. */
  name: string | undefined
  interrupt: boolean
}

const KEY =
  /^glusterfs\.(clrlk|intrlk)\.t(inode|entry|posix)\.k(blocked|granted|all)(?:\.(?:\/)?(.*))?$/s
const RANGE = /^\d+,(\d{1,19})-(\d{1,19})$/

/** `undefined` for other keys, EINVAL for one of these that makes no sense. */
export function parseClearKey(key: string): ClearRequest | Errno | undefined {
  if (!/^glusterfs\.(clrlk|intrlk)\./.test(key)) return undefined
  const match = KEY.exec(key)
  if (match === null) return E.INVAL
  const [, what, type, kind, rest] = match
  const request: ClearRequest = {
    type: type as ClearRequest['type'],
    kinds: { granted: kind !== 'blocked', blocked: kind !== 'granted' },
    range: undefined,
    name: undefined,
    interrupt: what === 'intrlk',
  }
  if (rest === undefined || rest === '') return request
  if (request.type === 'entry') return { ...request, name: rest }
  const range = RANGE.exec(rest)
  if (range === null) return E.INVAL
  const start = BigInt(range[1]!)
  const len = BigInt(range[2]!)
  return { ...request, range: { start, end: len === 0n ? END_OF_FILE : start + len } }
}

/** Takes them away; stock's words for it, `undefined` for none. `client`: whose interrupt it is. */
export function clearLocks(
  object: LockedObject | undefined,
  request: ClearRequest,
  client: Client | undefined,
): string | undefined {
  if (object === undefined) return undefined
  const errno = request.interrupt ? E.INTR : E.AGAIN
  const { kinds, range, name } = request
  const inRange = (lock: { start: bigint; end: bigint }): boolean =>
    range === undefined || (lock.start === range.start && lock.end === range.end)
  let granted = 0
  let blocked = 0
  const add = (cleared: { granted: number; blocked: number }): void => {
    granted += cleared.granted
    blocked += cleared.blocked
  }
  if (request.type === 'posix') {
    const isOurs = (lock: { owner: { client: Client | undefined } }): boolean =>
      !request.interrupt || lock.owner.client === client
    add(object.posix.clear((lock) => inRange(lock) && isOurs(lock), errno, kinds))
  } else if (request.type === 'inode') {
    for (const domain of object.ranges.values()) add(domain.clear(inRange, errno, kinds))
  } else {
    const isNamed = (lock: { name: string | undefined }): boolean =>
      name === undefined || lock.name === name
    for (const domain of object.names.values()) add(domain.clear(isNamed, errno, kinds))
  }
  object.trim()
  object.wakeRemovals()
  if (granted + blocked === 0) return undefined
  return `${request.type} blocked locks=${blocked} granted locks=${granted}`
}
