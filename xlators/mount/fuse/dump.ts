/** What the state dump and `.meta/root` show of the bridge (fuse_priv_dump). */
import { inodePath } from '../../../src/core/inode.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import type { FuseBridge } from './index.ts'

/** Open files listed one by one. */
const FILES_SHOWN_MAX = 4096

export function dumpBridge(bridge: FuseBridge, sink: DumpSink): void {
  const { options } = bridge
  sink.section('xlator.mount.fuse.priv')
  sink.pair('fd', bridge.device.fd)
  sink.pair('proto_minor', bridge.protoMinor)
  sink.pair('volfile', 'None')
  sink.pair('volfile_size', 0)
  sink.pair('mount_point', bridge.target)
  sink.pair('fuse_thread_started', bridge.initFlags !== 0)
  sink.pair('direct_io_mode', bridge.directIo)
  sink.pair('entry_timeout', options['entry-timeout'].toFixed(6))
  sink.pair('attribute_timeout', options['attribute-timeout'].toFixed(6))
  sink.pair('init_recvd', bridge.initFlags !== 0)
  sink.pair('strict_volfile_check', options['strict-volfile-check'])
  sink.pair('timed_response_thread_started', bridge.initFlags !== 0)
  sink.pair('reverse_thread_started', bridge.initFlags !== 0)
  sink.pair('invalidate_limit', options['invalidate-limit'])
  sink.pair('invalidate_queue_length', bridge.invalidator.waiting)
  sink.pair('use_readdirp', options['use-readdirp'])
  sink.pair('open_files', bridge.files.count)
  sink.pair('inodes', bridge.table.size)
  const { counts, kept } = bridge.listings.primer
  sink.pair('primed_names_kept', kept)
  for (const [key, count] of Object.entries(counts)) sink.pair(`primed_${key}`, count)
}

/** One line for each open file; stock shows none. */
export function dumpOpenFiles(bridge: FuseBridge, sink: DumpSink): void {
  sink.section('xlator.mount.fuse.fdtable')
  sink.pair('refcount', bridge.files.count)
  let shown = 0
  for (const file of bridge.files.all()) {
    if (++shown > FILES_SHOWN_MAX) return
    const { fd, fh } = file
    sink.pair(`fdentry[${fh}].pid`, fd.pid)
    sink.pair(`fdentry[${fh}].flags`, `0${fd.flags.toString(8)}`)
    sink.pair(`fdentry[${fh}].users`, file.users)
    sink.pair(`fdentry[${fh}].locks`, file.hasLocks)
    sink.pair(`fdentry[${fh}].old_graph`, file.home !== undefined)
    sink.pair(`fdentry[${fh}].path`, inodePath(fd.inode))
  }
}

/** Options as given, and those that stock always passes. */
export function bridgeOptionsShown(bridge: FuseBridge): ReadonlyMap<string, string> {
  const { options } = bridge
  return new Map([
    ['auto-invalidation', options['auto-invalidation'] ? '1' : '0'],
    ['invalidate-limit', String(options['invalidate-limit'])],
    ['negative-timeout', options['negative-timeout'].toFixed(6)],
    ['no-root-squash', options['no-root-squash'] ? 'enable' : 'disable'],
    ['sync-to-mount', 'enable'],
    ...bridge.givenOptions,
  ])
}
