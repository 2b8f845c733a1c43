/** The options of cluster/distribute; volume keys are `cluster.<option>`. */
import { defineOptions } from '../../../src/core/options.ts'

const REBALANCE_ONLY = 'only the rebalance process acts on it'

export const options = defineOptions({
  'lookup-unhashed': {
    type: 'str',
    default: 'on',
    description:
      'Look for a name everywhere when its hashed subvolume lacks it: on, off, or auto (only ' +
      'where misplaced names were seen). Without effect while lookup-optimize is on.',
  },
  'lookup-optimize': {
    type: 'bool',
    default: 'on',
    description: 'Search for missing names only in directories laid out since the last rebalance.',
  },
  'min-free-disk': {
    type: 'percent-or-size',
    default: '10%',
    description: 'New files avoid subvolumes with less free space, in percent or bytes.',
  },
  'min-free-inodes': {
    type: 'percent',
    default: '5%',
    description: 'New files avoid subvolumes with a smaller share of free inodes.',
  },
  'directory-layout-spread': {
    type: 'int',
    min: 1,
    description: 'Subvolumes a new directory takes files on; default all.',
  },
  'readdir-optimize': {
    type: 'bool',
    default: 'off',
    description: 'List directories from the first subvolume only.',
  },
  'use-readdirp': {
    type: 'bool',
    default: 'on',
    description: 'Read directories with attributes even for plain readdir.',
  },
  'rsync-hash-regex': {
    type: 'str',
    description:
      'POSIX extended regular expression; its group 1 is hashed instead of the name. ' +
      "'none' switches it off.",
  },
  'extra-hash-regex': {
    type: 'str',
    description: 'One more such expression, tried before rsync-hash-regex.',
  },
  'xattr-name': {
    type: 'str',
    default: 'trusted.glusterfs.dht',
    description: 'Base name of the xattrs DHT keeps on bricks.',
  },
  'weighted-rebalance': {
    type: 'bool',
    default: 'on',
    description: 'Larger subvolumes take a larger part of each directory.',
  },
  'randomize-hash-range-by-gfid': {
    type: 'bool',
    default: 'off',
    description: "Rotate a directory's ranges by its gfid instead of its path.",
  },
  'decommissioned-bricks': {
    type: 'any',
    description: 'Comma separated subvolumes that are being removed: they get no new files.',
  },
  'rebal-throttle': {
    type: 'str',
    default: 'normal',
    description: 'Speed of rebalance.',
    noEffect: REBALANCE_ONLY,
  },
  'lock-migration': {
    type: 'bool',
    default: 'off',
    description: 'Migrate files that have posix locks.',
    noEffect: REBALANCE_ONLY,
  },
  'force-migration': {
    type: 'bool',
    default: 'off',
    description: 'Migrate files open for writing.',
    noEffect: REBALANCE_ONLY,
  },
  'ensure-durability': {
    type: 'bool',
    default: 'on',
    description: 'fsync files after migrating them.',
    noEffect: REBALANCE_ONLY,
  },
  'rebalance-stats': {
    type: 'bool',
    default: 'off',
    description: 'Log the time a migration took.',
    noEffect: REBALANCE_ONLY,
  },
  'rebalance-cmd': {
    type: 'int',
    description: 'Which rebalance this process runs.',
    noEffect: REBALANCE_ONLY,
  },
  'commit-hash': {
    type: 'int',
    description: 'Commit hash of the rebalance.',
    noEffect: REBALANCE_ONLY,
  },
  'node-uuid': { type: 'str', description: 'Node of the rebalance.', noEffect: REBALANCE_ONLY },
  'rebalance-filter': {
    type: 'str',
    description: 'Files rebalance migrates, by pattern and size.',
    noEffect: REBALANCE_ONLY,
  },
  'assert-no-child-down': {
    type: 'bool',
    default: 'off',
    description: 'End the process when a subvolume goes down.',
    noEffect: REBALANCE_ONLY,
  },
  'unhashed-sticky-bit': {
    type: 'bool',
    default: 'off',
    description: 'Mark misplaced files.',
    noEffect: 'stock has not acted on it since 3.x',
  },
  'local-volume-name': {
    type: 'str',
    description: 'Local subvolume.',
    noEffect: 'only cluster/nufa acts on it',
  },
  'pattern.switch.case': {
    type: 'str',
    description: 'Patterns and their subvolumes.',
    noEffect: 'only cluster/switch acts on it',
  },
})

/** How `lookup-unhashed` reads: its own words besides the boolean ones. */
export type LookupUnhashed = 'on' | 'off' | 'auto'
