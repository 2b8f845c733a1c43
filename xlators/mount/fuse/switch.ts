/** Moves open files from one graph to the next. */
import { Dict } from '../../../src/core/dict.ts'
import { E, errnoName } from '../../../src/core/errno.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { inodePath, isDirInode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { Serving } from '../../../src/fuse/request.ts'
import type { Graph } from '../../../src/graph/build.ts'
import type { OpenFile } from './files.ts'
import type { FuseBridge } from './index.ts'
import { lookupInode } from './lookup.ts'

const O_CREAT = 0o100
const O_EXCL = 0o200
const O_TRUNC = 0o1000
const LOCKINFO = 'trusted.glusterfs.lockinfo'

/**
 * Opens every open file on the new graph as well. The Fd stays the same object: translators of
 * each graph have their contexts on it. A file that cannot be opened again, above all an unlinked
 * one, stays with the old graph, which lives until it is closed; stock answers EBADF from then on.
 */
export async function migrateFiles(bridge: FuseBridge, from: Serving, to: Graph): Promise<void> {
  const frame = bridge.graph.pool.begin(bridge as unknown as Xlator, 'graph switch', ROOT_CREDS)
  try {
    const files = [...bridge.files.all()]
    await Promise.all(files.map((file) => migrate(bridge, frame, file, from, to)))
  } finally {
    frame.stack.end()
  }
}

async function migrate(
  bridge: FuseBridge,
  frame: Frame,
  file: OpenFile,
  old: Serving,
  to: Graph,
): Promise<void> {
  const { fd } = file
  const from = old.graph
  if (file.home !== undefined || fd.inode.gfid === NULL_GFID) return
  bridge.files.dropPages(file)
  if (file.unopened) return
  const isDirectory = isDirInode(fd.inode)
  // Written data must be on the bricks before another connection reads it.
  const xdata = new Dict().setInt('last-fsync', 1)
  const synced = await frame.wind(from.top, isDirectory ? 'fsyncdir' : 'fsync', {
    fd,
    datasync: false,
    xdata,
  })
  const where = inodePath(fd.inode)
  if (synced.errno !== 0) {
    bridge.log.warn(
      { errno: errnoName(synced.errno) },
      `fsync of ${where} before the switch failed`,
    )
  }
  let errno = await lookupInode(bridge.log, frame, to.top, fd.inode)
  if (errno === 0) {
    const loc = Loc.ofInode(fd.inode)
    const flags = fd.flags & ~(O_CREAT | O_EXCL | O_TRUNC)
    const opened = isDirectory
      ? await frame.wind(to.top, 'opendir', { loc, fd })
      : await frame.wind(to.top, 'open', { loc, fd, flags })
    errno = opened.errno
  }
  if (errno === 0 && file.hasLocks) {
    const info = await frame.wind(from.top, 'fgetxattr', { fd, name: LOCKINFO })
    errno = info.errno
    if (info.errno === 0) {
      const set = await frame.wind(to.top, 'fsetxattr', { fd, dict: info.dict, flags: 0 })
      errno = set.errno
    }
  }
  if (errno === 0) return
  bridge.stayHome(file, old)
  if (errno === E.NOENT || errno === E.STALE) return
  bridge.log.error(
    { errno: errnoName(errno) },
    `${where} cannot be opened on the new graph: it stays with the old one until it is closed`,
  )
}
