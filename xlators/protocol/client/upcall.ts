/** Calls of a brick on its clients, as events for the translators above. */

import { Dict } from '../../../src/core/dict.ts'
import type { Upcall } from '../../../src/core/event.ts'
import { parseGfid } from '../../../src/core/gfid.ts'
import type { LegacyDict } from '../../../src/xdr/dict.ts'
import { CBK } from '../../../src/xdr/programs.ts'
import { type Reader, XdrError } from '../../../src/xdr/reader.ts'

/** Untyped pairs as the raw bytes they are. */
function dictOf(legacy: LegacyDict | undefined): Dict | undefined {
  if (legacy === undefined) return undefined
  const dict = new Dict()
  for (const [key, value] of legacy) dict.set(key, { type: 'strOld', value })
  return dict
}

/** The upcall in a callback's body; `undefined` for procedures that carry none. */
export function readUpcall(procedure: number, body: Reader): Upcall | undefined {
  switch (procedure) {
    case CBK.CACHE_INVALIDATION.number: {
      const cbk = CBK.CACHE_INVALIDATION.request.decode(body)
      const gfid = parseGfid(cbk.gfid.replace(/\0+$/, ''))
      if (gfid === undefined) throw new XdrError('gfid', 0, 'not the text of a gfid')
      return {
        type: 'cache-invalidation',
        gfid,
        flags: cbk.flags,
        expireTimeAttr: cbk.expire_time_attr,
        stat: cbk.stat,
        parentStat: cbk.parent_stat,
        oldParentStat: cbk.oldparent_stat,
        xdata: dictOf(cbk.xdata),
      }
    }
    case CBK.INODELK_CONTENTION.number: {
      const { gfid, flock, pid, domain } = CBK.INODELK_CONTENTION.request.decode(body)
      return { type: 'inodelk-contention', gfid, flock, pid, domain }
    }
    case CBK.ENTRYLK_CONTENTION.number: {
      const { gfid, type, pid, name, domain } = CBK.ENTRYLK_CONTENTION.request.decode(body)
      return { type: 'entrylk-contention', gfid, lockType: type, pid, name, domain }
    }
    case CBK.RECALL_LEASE.number: {
      const { gfid, lease_type, tid } = CBK.RECALL_LEASE.request.decode(body)
      return { type: 'recall-lease', gfid, leaseType: lease_type, leaseId: tid }
    }
    default:
      return undefined
  }
}
