/** Lock counts that clients ask for in the xdata of other fops. */
import { Dict } from '../../../src/core/dict.ts'
import type { LockedObject } from './object.ts'

const INODELK = 'glusterfs.inodelk-count'
const INODELK_DOMAIN = 'glusterfs.inodelk-dom-count'
const ENTRYLK = 'glusterfs.entrylk-count'
const POSIXLK = 'glusterfs.posixlk-count'
const PARENT_ENTRYLK = 'glusterfs.parent-entrylk'
const MULTI_DOMAIN = 'glusterfs.multi-dom-lk-cnt-req'
const DOMAIN_PREFIX = 'glusterfs.inodelk-dom-prefix:'

/** Does anything in `req` want an answer from here? */
export function wantsCounts(req: Dict | undefined): req is Dict {
  if (req === undefined) return false
  return (
    req.has(INODELK) ||
    req.has(INODELK_DOMAIN) ||
    req.has(ENTRYLK) ||
    req.has(POSIXLK) ||
    req.has(PARENT_ENTRYLK) ||
    req.has(MULTI_DOMAIN)
  )
}

/** The reply's xdata with the counts that `req` asks for. */
export function withCounts(
  req: Dict,
  xdata: Dict | undefined,
  object: LockedObject | undefined,
  parent: { object: LockedObject | undefined; name: string } | undefined,
): Dict {
  const reply = xdata ?? new Dict()
  if (req.has(INODELK)) reply.setInt(INODELK, object?.inodelkCount() ?? 0)
  const domain = req.getStr(INODELK_DOMAIN)
  if (domain !== undefined) reply.setInt(INODELK, object?.inodelkCount(domain) ?? 0)
  if (req.has(ENTRYLK)) reply.setInt(ENTRYLK, object?.entrylkCount() ?? 0)
  if (req.has(POSIXLK)) reply.setInt(POSIXLK, object?.posix.count ?? 0)
  if (req.has(PARENT_ENTRYLK)) {
    const count = parent === undefined ? 0 : (parent.object?.nameCount(parent.name) ?? 0)
    reply.setInt(PARENT_ENTRYLK, count)
  }
  if (req.has(MULTI_DOMAIN)) {
    for (const key of req.entries.keys()) {
      if (!key.startsWith(DOMAIN_PREFIX)) continue
      reply.setInt(key, object?.inodelkCount(key.slice(DOMAIN_PREFIX.length)) ?? 0)
    }
  }
  return reply
}
