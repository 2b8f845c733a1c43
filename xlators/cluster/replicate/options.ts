/** Volume options of cluster/replicate; names, defaults and ranges of its options table in 10.3. */
import { defineOptions } from '../../../src/core/options.ts'

const DAEMON_ONLY = 'concerns the self-heal daemon, not a mount'

export const options = defineOptions({
  'read-subvolume': {
    type: 'xlator',
    description: 'Name of the brick reads are sent to while it is good.',
  },
  'read-subvolume-index': {
    type: 'int',
    min: -1,
    default: '-1',
    description: 'Index of the brick reads are sent to while it is good; -1 for none.',
  },
  'read-hash-mode': {
    type: 'int',
    min: 0,
    max: 5,
    default: '1',
    description:
      'Which brick reads go to: 0 the first, 1 by gfid, 2 by gfid and process, 3 with the fewest ' +
      'reads under way, 4 with the least latency, 5 with the least product of both.',
  },
  'choose-local': {
    type: 'bool',
    default: 'on',
    description: 'Read from a brick on this host where there is one.',
  },
  'background-self-heal-count': {
    type: 'int',
    min: 0,
    max: 256,
    default: '8',
    description: 'Heals this mount runs at a time; 0 turns background heals off.',
  },
  'heal-wait-queue-length': {
    type: 'int',
    min: 0,
    max: 10000,
    default: '128',
    description: 'Heals that may wait for their turn.',
  },
  'data-self-heal': {
    type: 'bool',
    default: 'off',
    description: 'Heal the content of files this mount finds damaged.',
    alias: ['data-self-heal-enabled'],
  },
  'metadata-self-heal': {
    type: 'bool',
    default: 'off',
    description: 'Heal owners, modes and xattrs this mount finds to differ.',
  },
  'entry-self-heal': {
    type: 'bool',
    default: 'off',
    description: 'Heal directories this mount finds damaged.',
  },
  'data-self-heal-algorithm': {
    type: 'str',
    values: ['full', 'diff', 'dynamic'],
    default: 'dynamic',
    description: 'Copy all of a file, only blocks that differ, or choose.',
  },
  'data-self-heal-window-size': {
    type: 'int',
    min: 1,
    max: 1024,
    default: '8',
    description: 'Size of a block of a data heal in units of 128 KiB.',
  },
  'optimistic-change-log': {
    type: 'bool',
    default: 'on',
    description: 'Mark metadata and entry changes dirty only when a brick is missing.',
  },
  'pre-op-compat': {
    type: 'bool',
    default: 'on',
    description: 'Separate xattrop before the change.',
    noEffect: 'the change log is always written by an xattrop of its own, as by default',
  },
  'eager-lock': {
    type: 'bool',
    default: 'on',
    description: 'Keep the lock of a file for consecutive changes.',
  },
  'full-lock': {
    type: 'bool',
    default: 'yes',
    description: 'Without eager-lock: lock whole files for writes rather than ranges.',
  },
  'post-op-delay-secs': {
    type: 'int',
    min: 0,
    default: '1',
    description: 'Seconds a lock and the mark of a write are kept for the next write.',
  },
  'ensure-durability': {
    type: 'bool',
    default: 'on',
    description: 'Sync data on the bricks before the mark of a change is cleared.',
  },
  'quorum-type': {
    type: 'str',
    values: ['none', 'auto', 'fixed'],
    description: 'How many bricks must be there: any, more than half, or quorum-count.',
  },
  'quorum-count': {
    type: 'int',
    min: 1,
    description: 'Bricks that must be there with quorum-type fixed.',
  },
  'quorum-reads': {
    type: 'bool',
    default: 'no',
    description: 'Whether reads need quorum.',
    noEffect: 'reads need the same quorum as changes',
  },
  'consistent-metadata': {
    type: 'bool',
    default: 'no',
    description: 'Attributes in listings come from the brick that lookups read from.',
  },
  'consistent-io': {
    type: 'bool',
    default: 'no',
    description: 'Fail everything while a brick is missing.',
  },
  'favorite-child-policy': {
    type: 'str',
    values: ['none', 'size', 'ctime', 'mtime', 'majority'],
    default: 'none',
    description: 'Which copy of a file in split-brain is taken.',
  },
  'metadata-splitbrain-forced-heal': {
    type: 'bool',
    default: 'off',
    description: 'Heal metadata in split-brain by taking the first copy.',
  },
  'granular-entry-heal': {
    type: 'bool',
    default: 'no',
    description: 'Note the names of entries a brick misses.',
  },
  'use-anonymous-inode': {
    type: 'bool',
    default: 'no',
    description: 'Entry heals keep removed objects aside instead of deleting them.',
  },
  'locking-scheme': {
    type: 'str',
    values: ['full', 'granular'],
    default: 'full',
    description: 'Locking of heals.',
    noEffect: 'kept by GlusterFS for old volumes only',
  },
  'use-compound-fops': {
    type: 'bool',
    default: 'off',
    description: 'Several requests in one.',
    noEffect: 'removed from GlusterFS',
  },
  'arbiter-count': {
    type: 'int',
    min: 0,
    max: 1,
    default: '0',
    description: 'Whether the last of three bricks keeps no data.',
  },
  'thin-arbiter': {
    type: 'str',
    default: '',
    description:
      'The last child is a thin arbiter (host:path), which holds no files of the volume.',
  },
  'afr-pending-xattr': {
    type: 'str',
    description: 'Names of the bricks in the change log, joined by commas.',
  },
  'afr-dirty-xattr': {
    type: 'str',
    default: 'trusted.afr.dirty',
    description: 'Name of the mark of changes under way.',
  },
  'volume-id': {
    type: 'str',
    description: 'UUID of the volume.',
  },
  'self-heal-daemon': {
    type: 'bool',
    default: 'on',
    description: 'Whether the self-heal daemon repairs this volume.',
    noEffect: DAEMON_ONLY,
  },
  'iam-self-heal-daemon': {
    type: 'bool',
    default: 'off',
    description: 'Set in the volfile of the self-heal daemon.',
    noEffect: 'this client is never the self-heal daemon',
  },
  'iam-nfs-daemon': {
    type: 'bool',
    default: 'off',
    description: 'Set in the volfile of the NFS server.',
    noEffect: 'this client is never the NFS server',
  },
  'heal-timeout': {
    type: 'int',
    min: 5,
    default: '600',
    description: 'Seconds between the crawls of the self-heal daemon.',
    noEffect: DAEMON_ONLY,
  },
  'shd-max-threads': {
    type: 'int',
    min: 1,
    max: 64,
    default: '1',
    description: 'Parallel heals of the self-heal daemon.',
    noEffect: DAEMON_ONLY,
  },
  'shd-wait-qlength': {
    type: 'int',
    min: 1,
    max: 655536,
    default: '1024',
    description: 'Length of the self-heal daemon’s queue.',
    noEffect: DAEMON_ONLY,
  },
  'notify-contention': {
    type: 'bool',
    default: 'on',
    description: 'An option of the bricks.',
    noEffect: 'concerns the bricks',
  },
  'halo-enabled': {
    type: 'bool',
    default: 'no',
    description: 'Use near bricks only; the self-heal daemon writes to the others later.',
  },
  'halo-shd-max-latency': {
    type: 'int',
    min: 1,
    max: 99999,
    default: '99999',
    description: 'Latency limit of the self-heal daemon, in milliseconds.',
    noEffect: DAEMON_ONLY,
  },
  'halo-nfsd-max-latency': {
    type: 'int',
    min: 1,
    max: 99999,
    default: '5',
    description: 'Latency limit of the NFS server, in milliseconds.',
    noEffect: 'this client is never the NFS server',
  },
  'halo-max-latency': {
    type: 'int',
    min: 1,
    max: 99999,
    default: '5',
    description: 'Latency limit of a mount, in milliseconds.',
  },
  'halo-max-replicas': {
    type: 'int',
    min: 1,
    max: 99999,
    default: '99999',
    description: 'Near bricks that are used at most.',
  },
  'halo-min-replicas': {
    type: 'int',
    min: 1,
    max: 99999,
    default: '2',
    description: 'Bricks that are used however far they are.',
  },
  'halo-failover-enabled': {
    type: 'bool',
    default: 'off',
    description: 'Replace a near brick that is lost by a far one.',
    noEffect: 'not in GlusterFS 10: halo-min-replicas decides',
  },
})
