/**
 * Where our results differ from the stock client's on purpose: which results, what ours must be,
 * and why. Everything else has to be equal.
 */
import type { Difference } from './compare.ts'

interface Known {
  /** Matches `case/key.field`. */
  at: RegExp
  /** 'local': what a local file system gives for the same call; 'any'; else the JSON leaf. */
  ours: string
  why: string
  /** True: stock is wrong, and its result is not accepted from us either. */
  required?: boolean
}

/** Mounted with --acl. */
const withAcl: readonly Known[] = [
  {
    at: /^(miscellaneous\/access x|permissions\/times of another|times\/as another user)$/,
    ours: 'local',
    why: "stock lets root execute what nobody may, and refuses others' times with EACCES",
  },
  {
    at: /^acls\/get minimal$/,
    ours: 'local',
    why: 'stock makes up an ACL from the mode bits of a file that has none',
  },
]

const known: Known[] = [
  {
    at: /^zero-range\/(zeroed|content.*)$/,
    ours: 'local',
    required: true,
    why: 'stock answers ZERO_RANGE with success and allocates instead of zeroing',
  },
  {
    at: /^rename-links\/(k2 )?after\.(nlink|ctime)$/,
    ours: 'local',
    required: true,
    why: 'stock leaves the link count of a replaced hard link in the kernel for a second',
  },
  {
    at: /^rename-flags\//,
    ours: 'local',
    why: 'stock does not implement RENAME2',
  },
  {
    at: /^rename-flags\/(exchange|whiteout)$/,
    ours: '"EINVAL"',
    why: 'bricks have no fop that exchanges names or leaves a whiteout',
  },
  {
    at: /^rename-flags\/names$/,
    ours: '[".","..","b","c","d"]',
    why: 'as above: only RENAME_NOREPLACE can succeed',
  },
  {
    at: /^tmpfile\/.*\.(blocks|blksize)$/,
    ours: 'any',
    why: 'stock does not implement O_TMPFILE; a local file system counts blocks otherwise',
  },
  { at: /^tmpfile\//, ours: 'local', why: 'stock does not implement O_TMPFILE' },
  {
    at: /^open-file-locks\/(gone with the last|ofd free)$/,
    ours: 'local',
    why: 'stock frees these locks some time after the RELEASE, later than is waited for under load',
  },
  {
    at: /^record-locks\/(free after close|peer (asks )?beyond 4 GiB)/,
    ours: 'local',
    why: 'under load stock answers a close before its locks are free on all bricks',
  },
  {
    at: /^truncation\/regrown\.blocks$/,
    ours: 'any',
    why: 'a brick counts blocks that its file system is about to give back, or not: 16 or 18',
  },
  {
    at: /^setuid-bits\/(write|truncate) /,
    ours: 'local',
    why: 'stock cannot clear setuid for a writer who is not the owner: EPERM',
  },
  {
    at: /^unlinked\/(chmod|chown|times|setxattr|getxattr|listxattr|stat after changes.*)$/,
    ours: 'local',
    why: 'stock looks up a file without a name by gfid and finds nothing: ESTALE',
  },
  {
    at: /^(direct\/stat\.(size|blocks)|direct\/content)$/,
    ours: 'local',
    why: 'stock shows the size from before a direct write',
  },
  {
    at: /^owners\/chmod stat\.mode$/,
    ours: 'local',
    why: 'stock takes a file with setgid and sticky for one that migrates and hides both bits',
  },
  {
    at: /^\/?edits\/(stat\.|f\/)blocks$/,
    ours: 'any',
    why: "larger writes leave fewer extents: the brick's file system needs a block more or less",
  },
  {
    at: /^holes\/stat\.blocks$/,
    ours: 'any',
    why: 'stock now and then shows the blocks from before its last write, after fsync too',
  },
  {
    at: /^permissions\/public write$/,
    ours: 'local',
    why: "stock's open-behind opens late: the refusal then comes with the write, as EBADFD",
  },
  ...withAcl,
  {
    at: /^unaligned\//,
    ours: 'local',
    why: "stock's write-behind answers before the brick refuses, and later calls fail",
  },
]

function right(expected: string, difference: Difference): boolean {
  if (expected === 'any') return true
  return difference.ours === (expected === 'local' ? difference.local : expected)
}

/**
 * Whether this pair of results is as it should be. `lenient`: both clients are the stock one, whose
 * faults may show in either run.
 */
export function accepted(difference: Difference, lenient: boolean): boolean {
  const entries = known.filter(({ at }) => at.test(difference.at))
  if (lenient) return difference.stock === difference.ours || entries.length > 0
  if (difference.stock === difference.ours) {
    return entries.every((entry) => entry.required !== true || right(entry.ours, difference))
  }
  return entries.some((entry) => right(entry.ours, difference))
}

export interface DisperseShape {
  data: number
  redundancy: number
}

/** Where stock itself is at fault on dispersed volumes only. */
const disperse: { is: (difference: Difference, shape: DisperseShape) => boolean; why: string }[] = [
  {
    is: ({ at, stock, ours }, shape) =>
      at.endsWith('blocks') && sameBlocks(Number(stock), Number(ours), shape),
    why:
      'of a directory or link stock shows the blocks on one brick after a listing, K times as many ' +
      'after a lookup and the sum after other fops; we only do the first two',
  },
  {
    is: ({ at, stock, ours }) =>
      at.endsWith('glusterfs.pathinfo') && stock === '"ENOMEM"' && ours === '"a value"',
    why: 'stock answers ENOMEM, a fault of 10.3',
  },
  {
    is: ({ at, stock, ours }) => at === 'unlinked/fsync' && stock === '"EBADF"' && ours === '0',
    why:
      'without eager locks stock looks for the counters of a file without a name by gfid, does not ' +
      'find them, and takes the data for lost',
  },
  {
    is: ({ at }) => /^\/?xattr-sizes\/(.*name|non-UTF-8|f\/xattrs)/.test(at),
    why: "how much fits beside the bricks' own xattrs depends on which of them ext4 put in the inode",
  },
]

/** Both are what becomes of one number of blocks on each brick. */
function sameBlocks(a: number, b: number, { data, redundancy }: DisperseShape): boolean {
  const factors = [1, ...Array.from({ length: redundancy + 1 }, (_, i) => data + i)]
  return factors.some((factor) => factors.some((other) => a * other === b * factor))
}

export const knownOnDisperse = (difference: Difference, shape: DisperseShape): boolean =>
  disperse.some(({ is }) => is(difference, shape))

/** Where our bricks differ from stock's on purpose. */
const embedded: Known[] = [
  {
    at: /^\/?creation-modes\/.*[67]755[./]mode$/,
    ours: 'local',
    why: 'stock gives a new file to its owner after setting its mode, which clears setuid',
  },
  ...withAcl,
  {
    at: /^unaligned\//,
    ours: 'any',
    why: 'our bricks do not open with O_DIRECT: reads and writes need no alignment',
  },
  {
    at: /^\/\.glusterfs-anonymous-inode-/,
    ours: 'any',
    why: 'glusterd starts a self-heal daemon, which makes this directory; here the first heal does',
  },
  {
    at: /^\/rename-links\/kept\/xattrs.gfid2path$/,
    ours: '["/rename-links/kept"]',
    why: 'stock keeps the path of a name that a rename replaced',
  },
]

export const knownOnEmbedded = (difference: Difference): boolean =>
  embedded.some(({ at, ours }) => at.test(difference.at) && right(ours, difference))
