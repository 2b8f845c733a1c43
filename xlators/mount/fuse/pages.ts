import { errnoName } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_ACCMODE, O_APPEND, O_DIRECT, O_RDWR } from '../../../src/core/open-flags.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import type { OpenFile } from './files.ts'
import type { FuseBridge } from './index.ts'

/** A brick's write on such an fd goes to the end of the file, or fails when it is not aligned. */
const misplaces = (fd: Fd): boolean => (fd.flags & (O_APPEND | O_DIRECT)) !== 0

/**
 * The fd to write dirty pages of a mapping by. The kernel names any writable handle of the file;
 * the stock client takes it, and with O_APPEND the bytes of the mapping end up behind the file
 * instead of in it. `undefined`: there is none.
 */
export async function pageFd(
  bridge: FuseBridge,
  request: FuseRequest,
  file: OpenFile,
): Promise<Fd | undefined> {
  if (!misplaces(file.fd)) return file.fd
  file.pages ??= openPages(bridge, request, file)
  const fd = await file.pages
  if (fd !== undefined) return fd
  file.pages = undefined
  // An unlinked file cannot be opened again; another writer may still have it open.
  for (const other of file.fd.inode.fds) {
    const writable = (other.flags & O_ACCMODE) !== 0
    const atHome = bridge.files.of(other)?.home === file.home
    if (writable && !misplaces(other) && atHome) return other
  }
  return undefined
}

async function openPages(
  bridge: FuseBridge,
  request: FuseRequest,
  file: OpenFile,
): Promise<Fd | undefined> {
  const { inode } = file.fd
  const fd = new Fd(inode, O_RDWR, request.pid)
  const frame = request.frame.with({ uid: 0, gid: 0, groups: [] })
  const loc = Loc.ofInode(inode)
  const rep = await frame.wind(request.top, 'open', { loc, fd, flags: O_RDWR })
  if (rep.errno === 0) return fd
  bridge.log.error({ errno: errnoName(rep.errno) }, `no fd for the pages of ${inodePath(inode)}`)
  return undefined
}
