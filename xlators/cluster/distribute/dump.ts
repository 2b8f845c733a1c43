/** Private state for the state dump and `.meta` (dht_priv_dump). */
import type { Inode } from '../../../src/core/inode.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { ctimeText } from '../../../src/observe/log-format.ts'
import type { Distribute } from './index.ts'

export function dumpDistribute(dht: Distribute, sink: DumpSink): void {
  sink.section(`xlator.cluster.dht.${dht.name}.priv`)
  sink.pair('subvol_cnt', dht.children.length)
  dht.children.forEach((sub, i) => {
    sink.pair(`subvolumes[${i}]`, `${sub.type}.${sub.name}`)
    sink.pair(`file_layouts[${i}].cnt`, 1)
    sink.pair(`file_layouts[${i}].preset`, 1)
    sink.pair(`file_layouts[${i}].gen`, 0)
    sink.pair(`subvolume_status[${i}]`, dht.states.isUp(i) ? 1 : 0)
  })
  const { options } = dht
  const limit = options['min-free-disk']
  const isPercent = 'percent' in limit
  sink.pair('search_unhashed', { on: 1, off: 0, auto: 2 }[dht.lookupUnhashed])
  sink.pair('gen', dht.generation)
  sink.pair('min_free_disk', (isPercent ? limit.percent : limit.bytes).toFixed(6))
  sink.pair('min_free_inodes', options['min-free-inodes'].toFixed(6))
  sink.pair('disk_unit percentage', isPercent ? 1 : 0)
  sink.pair('refresh_interval', 0)
  sink.pair('unhashed_sticky_bit', options['unhashed-sticky-bit'] ? 1 : 0)
  sink.pair('use-readdirp', options['use-readdirp'] ? 1 : 0)
  dht.children.forEach((sub, i) => {
    const space = dht.space.known.get(sub)
    if (space === undefined) return
    sink.pair(`subvolumes[${i}]`, sub.name)
    sink.pair(`du_stats[${i}].avail_percent`, space.availPercent.toFixed(6))
    sink.pair(`du_stats[${i}].avail_space`, space.availBytes)
    sink.pair(`du_stats[${i}].avail_inodes`, space.inodePercent.toFixed(6))
    sink.pair(`du_stats[${i}].log`, 0)
  })
  if (dht.space.fetchedAt > 0) sink.pair('last_stat_fetch', ctimeText(dht.space.fetchedAt))
}

/** The layout of a directory; of a file that of the one subvolume it is on (dht_inodectx_dump). */
export function dumpDhtInode(dht: Distribute, inode: Inode, sink: DumpSink): void {
  const state = dht.inodes.get(inode)
  if (state === undefined) return
  const { layout } = state
  sink.section(`xlator.cluster.dht.${dht.name}.inode`)
  sink.pair('layout.cnt', layout?.entries.length ?? 1)
  sink.pair('layout.preset', layout === undefined)
  sink.pair('layout.gen', layout?.generation ?? 0)
}
