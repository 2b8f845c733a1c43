/** INIT, FORGET and the other requests that concern the session. */
import * as abi from '../../../src/fuse/abi.ts'
import { IO_BYTES_MAX } from '../../../src/fuse/device.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import { giveBackIdleInodes } from './idle.ts'
import type { FuseBridge } from './index.ts'

/** The INIT flags this bridge wants, before the kernel's offer narrows them. */
function wantedFlags(bridge: FuseBridge): number {
  const { options } = bridge
  let flags =
    abi.FUSE_ASYNC_READ |
    abi.FUSE_POSIX_LOCKS |
    abi.FUSE_FLOCK_LOCKS |
    abi.FUSE_ATOMIC_O_TRUNC |
    abi.FUSE_BIG_WRITES |
    abi.FUSE_DONT_MASK |
    abi.FUSE_ASYNC_DIO |
    abi.FUSE_PARALLEL_DIROPS |
    abi.FUSE_MAX_PAGES |
    // a link's text never changes
    abi.FUSE_CACHE_SYMLINKS |
    abi.FUSE_INIT_EXT
  // File capabilities must go when the file changes. Where they are honoured the kernel has to see
  // to that itself: it asks for security.capability before each write.
  if (!options.capability && !options.selinux) flags |= abi.FUSE_HANDLE_KILLPRIV_V2
  // Not FUSE_READDIRPLUS_AUTO: the entries that the kernel then lists without attributes cost a
  // LOOKUP each, and the bricks send attributes in any case.
  if (options['use-readdirp']) flags |= abi.FUSE_DO_READDIRPLUS
  if (options['auto-invalidation']) flags |= abi.FUSE_AUTO_INVAL_DATA
  if (options['kernel-writeback-cache']) flags |= abi.FUSE_WRITEBACK_CACHE
  return flags
}

type Ops = Pick<FuseOps, 'init' | 'destroy' | 'forget' | 'batchForget'>

export class SessionOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  readonly #forget = (nodeid: number, count: number): void => {
    const inode = this.#bridge.table.byNodeid(nodeid)
    if (inode !== undefined) this.#bridge.table.forget(inode, count)
  }

  init: Ops['init'] = (request, input) => {
    if (input.major !== abi.FUSE_KERNEL_VERSION || input.minor < abi.FUSE_MINOR_MIN) {
      this.#bridge.log.error(`the kernel speaks FUSE ${input.major}.${input.minor}; 7.28 is needed`)
      this.#bridge.device.close()
      request.answered = true
      return
    }
    const qlen = this.#bridge.options['background-qlen']
    const threshold = this.#bridge.options['congestion-threshold'] ?? Math.floor((qlen * 3) / 4)
    this.#bridge.protoMinor = input.minor
    this.#bridge.initFlags = input.flags & wantedFlags(this.#bridge)
    request.init({
      minor: Math.min(input.minor, abi.FUSE_KERNEL_MINOR_VERSION),
      maxReadahead: IO_BYTES_MAX,
      flags: this.#bridge.initFlags,
      flags2: input.flags2 & abi.FUSE2_DIRECT_IO_ALLOW_MMAP,
      maxBackground: qlen,
      congestionThreshold: Math.min(threshold, qlen),
      maxWrite: IO_BYTES_MAX,
      timeGran: this.#bridge.options['attr-times-granularity'],
      maxPages: IO_BYTES_MAX / 4096,
    })
    if (this.#bridge.active === undefined) this.#bridge.device.pause()
  }

  destroy: Ops['destroy'] = (request) => {
    request.ok()
  }

  forget: Ops['forget'] = (request, count) => {
    this.#forget(request.nodeid, count)
    giveBackIdleInodes(this.#bridge)
  }

  batchForget: Ops['batchForget'] = (_request, forgets) => {
    for (const { nodeid, nlookup } of forgets) this.#forget(nodeid, nlookup)
    giveBackIdleInodes(this.#bridge)
  }
}
