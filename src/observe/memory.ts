/**
 * Memory of the process under stock's headings. Its allocator's arenas, pools and typed counters
 * have no counterpart in a garbage-collected program: what is shown is what takes their place.
 */
import type { InodeTable } from '../core/inode.ts'
import type { Xlator } from '../core/xlator.ts'
import type { DumpSink } from './dump.ts'
import { type ContextCounts, countContexts } from './itable.ts'

/** `[mallinfo]`: the JavaScript heap as the arena, buffers outside it as mapped blocks. */
export function dumpMallinfo(sink: DumpSink): void {
  const usage = process.memoryUsage()
  sink.section('mallinfo')
  sink.pair('mallinfo_arena', usage.heapTotal)
  sink.pair('mallinfo_ordblks', 1)
  sink.pair('mallinfo_smblks', 0)
  sink.pair('mallinfo_hblks', 1)
  sink.pair('mallinfo_hblkhd', usage.external)
  sink.pair('mallinfo_usmblks', 0)
  sink.pair('mallinfo_fsmblks', 0)
  sink.pair('mallinfo_uordblks', usage.heapUsed)
  sink.pair('mallinfo_fordblks', usage.heapTotal - usage.heapUsed)
  sink.pair('mallinfo_keepcost', 0)
  sink.section('memory')
  sink.pair('rss', usage.rss)
  sink.pair('heap_total', usage.heapTotal)
  sink.pair('heap_used', usage.heapUsed)
  sink.pair('external', usage.external)
  sink.pair('array_buffers', usage.arrayBuffers)
}

/** `[global.glusterfs - Memory usage]`; nothing is counted by type here. */
export function dumpGlobalUsage(sink: DumpSink): void {
  sink.section('global.glusterfs - Memory usage')
  sink.pair('num_types', 0)
}

/** `[mempool]`: objects of the kinds stock takes from pools, as many as live. */
export function dumpPools(table: InodeTable, calls: number, frames: number, sink: DumpSink): void {
  let fds = 0
  let dentries = 0
  for (const inode of table.inodes()) {
    fds += inode.fds.size
    dentries += inode.dentries.length
  }
  sink.section('mempool')
  const pools = [
    ['fd_t', 'fuse', fds],
    ['dentry_t', 'fuse', dentries],
    ['inode_t', 'fuse', table.size],
    ['call_stack_t', 'glusterfs', calls],
    ['call_frame_t', 'glusterfs', frames],
  ] as const
  for (const [name, xlator, count] of pools) {
    sink.pair('-----', '-----')
    sink.pair('pool-name', name)
    sink.pair('xlator-name', xlator)
    sink.pair('active-count', count)
  }
}

/** `[iobuf.global]`: data travels in buffers of the size it has, not in arenas of pages. */
export function dumpBuffers(sink: DumpSink): void {
  sink.section('iobuf.global')
  sink.pair('iobuf_pool', '0x0')
  sink.pair('iobuf_pool.default_page_size', 131072)
  sink.pair('iobuf_pool.arena_size', process.memoryUsage().arrayBuffers)
  sink.pair('iobuf_pool.arena_cnt', 0)
  sink.pair('iobuf_pool.request_misses', 0)
}

/** `[TYPE.NAME - Memory usage]`: the contexts of a translator on inodes and open files. */
export function dumpUsage(xl: Xlator, sink: DumpSink, counts?: ContextCounts): void {
  const { inodes, fds } = counts ?? countContexts(xl.graph.inodes)
  const name = `${xl.type}.${xl.name}`
  const kinds = [
    ['gf_common_mt_inode_ctx', inodes[xl.slot] ?? 0],
    ['gf_common_mt_fd_ctx', fds[xl.slot] ?? 0],
  ] as const
  sink.section(`${name} - Memory usage`)
  sink.pair('num_types', kinds.length)
  for (const [kind, count] of kinds) {
    if (count === 0) continue
    sink.section(`${name} - usage-type ${kind} memusage`)
    sink.pair('num_allocs', count)
  }
}
