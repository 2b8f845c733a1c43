/** Fops that change directories. They lock the parent, never the object itself. */
import { Dict } from '../../../src/core/dict.ts'
import type { Errno } from '../../../src/core/errno.ts'
import type { FopName, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, isReg, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bricksOf } from '../common/mask.ts'
import { writeTime } from './agreement.ts'
import type { Disperse } from './index.ts'
import { lookupSize } from './lookup.ts'
import { begin, type Intent, type Transaction } from './transaction.ts'
import { configBytes, word, words, XATTR_CONFIG, XATTR_SIZE, XATTR_VERSION } from './xattrs.ts'

const O_APPEND = 0o2000

const changesEntries = (parent: Inode): Intent => ({
  inode: parent,
  updateData: true,
  updateMetadata: true,
})

type EntryFop = 'mknod' | 'mkdir' | 'unlink' | 'rmdir' | 'symlink' | 'link' | 'create'

/** Runs an entry fop under the lock of `parent`. */
async function inParent<K extends EntryFop>(
  ec: Disperse,
  frame: Frame,
  parent: Inode,
  fop: K,
  xdata: Dict | undefined,
  req: (xdata: Dict) => Req<K>,
  finish?: (rep: Extract<Rep<K>, { errno: 0 }>, good: number) => Promise<Errno | 0>,
): Promise<Rep<K>> {
  const tx = await begin(ec, frame, changesEntries(parent))
  if (tx.errno !== 0) return tx
  try {
    const answer = await tx.send(fop, {
      spread: 'all',
      xdata,
      req: (_brick, extended) => req(extended),
    })
    const rep = answer.rep as Rep<K> & { errno: 0 }
    if (answer.rep.errno !== 0) return rep
    tx.changed()
    const success = rep as Extract<Rep<K>, { errno: 0 }>
    const errno = (await finish?.(success, answer.good)) ?? 0
    return errno === 0 ? rep : ({ errno } as Rep<K>)
  } finally {
    tx.end()
  }
}

/** The counters a new regular file is born with. */
function fileXattrs(ec: Disperse, xdata: Dict | undefined): Dict {
  const dict = xdata?.clone() ?? new Dict()
  dict.setBytes(XATTR_CONFIG, configBytes(ec.geometry))
  dict.setBytes(XATTR_VERSION, words(0, 0))
  return dict.setBytes(XATTR_SIZE, word(0))
}

export function mknod(ec: Disperse, frame: Frame, req: Req<'mknod'>): Promise<Rep<'mknod'>> {
  const type = req.mode & S_IFMT
  const regular = type === S_IFREG || type === 0
  const xattrs = regular ? fileXattrs(ec, req.xdata) : req.xdata
  return inParent(ec, frame, req.loc.parent!, 'mknod', xattrs, (xdata) => ({ ...req, xdata }))
}

export function mkdir(ec: Disperse, frame: Frame, req: Req<'mkdir'>): Promise<Rep<'mkdir'>> {
  const xattrs = (req.xdata?.clone() ?? new Dict()).setBytes(XATTR_VERSION, words(0, 0))
  return inParent(ec, frame, req.loc.parent!, 'mkdir', xattrs, (xdata) => ({ ...req, xdata }))
}

export function unlink(ec: Disperse, frame: Frame, req: Req<'unlink'>): Promise<Rep<'unlink'>> {
  return inParent(ec, frame, req.loc.parent!, 'unlink', req.xdata, (xdata) => ({ ...req, xdata }))
}

export function rmdir(ec: Disperse, frame: Frame, req: Req<'rmdir'>): Promise<Rep<'rmdir'>> {
  return inParent(ec, frame, req.loc.parent!, 'rmdir', req.xdata, (xdata) => ({ ...req, xdata }))
}

export function symlink(ec: Disperse, frame: Frame, req: Req<'symlink'>): Promise<Rep<'symlink'>> {
  return inParent(ec, frame, req.loc.parent!, 'symlink', req.xdata, (xdata) => ({ ...req, xdata }))
}

export function create(ec: Disperse, frame: Frame, req: Req<'create'>): Promise<Rep<'create'>> {
  return inParent(
    ec,
    frame,
    req.loc.parent!,
    'create',
    fileXattrs(ec, req.xdata),
    (xdata) => ({ ...req, flags: req.flags & ~O_APPEND, xdata }),
    async (rep, good) => {
      ec.fdOpened(req.fd, good)
      // Without O_EXCL it may have been there, with content.
      if (rep.stat.size === 0) return 0
      return sizeOf(ec, frame, Loc.ofName(req.loc.parent!, req.loc.name!, req.loc.inode), rep.stat)
    },
  )
}

/** Puts the user-visible size of the regular file at `loc` into `stat`. */
async function sizeOf(ec: Disperse, frame: Frame, loc: Loc, stat: Iatt): Promise<Errno | 0> {
  const found = await lookupSize(ec, frame, loc)
  if (found.errno !== 0) return found.errno
  stat.size = found.size
  return 0
}

export function link(ec: Disperse, frame: Frame, req: Req<'link'>): Promise<Rep<'link'>> {
  return inParent(
    ec,
    frame,
    req.newloc.parent!,
    'link',
    req.xdata,
    (xdata) => ({ ...req, xdata }),
    async (rep) => {
      if (!isReg(rep.stat)) return 0
      return sizeOf(ec, frame, Loc.ofInode(req.oldloc.inode), rep.stat)
    },
  )
}

export async function rename(
  ec: Disperse,
  frame: Frame,
  req: Req<'rename'>,
): Promise<Rep<'rename'>> {
  const from = req.oldloc.parent!
  const to = req.newloc.parent!
  // Every client takes the greater gfid first, so that none waits for another in a circle.
  const parents = from === to ? [from] : from.gfid > to.gfid ? [from, to] : [to, from]
  const transactions: Transaction[] = []
  try {
    for (const parent of parents) {
      const tx = await begin(ec, frame, changesEntries(parent))
      if (tx.errno !== 0) return tx
      transactions.push(tx)
    }
    return await renameLocked(ec, frame, req, transactions)
  } finally {
    for (const tx of transactions) tx.end()
  }
}

async function renameLocked(
  ec: Disperse,
  frame: Frame,
  req: Req<'rename'>,
  transactions: readonly Transaction[],
): Promise<Rep<'rename'>> {
  const moved = req.oldloc.inode
  const agreed = ec.agreedOn(moved)
  const size = (): ReturnType<typeof lookupSize> => lookupSize(ec, frame, Loc.ofInode(moved))
  // By gfid: it does not matter which of the two comes first.
  const sizing = moved.type === S_IFREG && agreed === undefined ? size() : undefined
  const { rep, good, replies } = await transactions[0]!.send(
    'rename' satisfies FopName,
    { spread: 'all', xdata: req.xdata, req: (_brick, xdata) => ({ ...req, xdata }) },
    transactions[1],
  )
  let found = await sizing
  if (rep.errno !== 0) return rep
  for (const tx of transactions) tx.changed()
  if (isReg(rep.stat)) {
    if (agreed !== undefined) {
      // Nothing was written since the size was seen if no brick's part has changed.
      const unchanged = bricksOf(good).every(
        (brick) => writeTime((replies[brick] as Ok<'rename'>).stat) === agreed.written[brick],
      )
      found = unchanged ? { errno: 0, size: agreed.size } : await size()
    }
    if (found?.errno === 0) rep.stat.size = found.size
    // A ctime of 0 marks attributes nobody may rely on.
    else rep.stat.ctime = 0
  }
  return rep
}
