/** Options of storage/posix. */
import { defineOptions } from '../../../src/core/options.ts'

const UNUSED = 'this brick does all its I/O on its own thread pool'

export const options = defineOptions({
  directory: { type: 'path', description: 'The brick: where the files are.' },
  'volume-id': { type: 'any', description: 'UUID that the root of the brick must carry.' },
  'shared-brick-count': {
    type: 'int',
    min: 0,
    default: '1',
    description: 'Bricks of the volume on this file system; statfs totals are divided by it.',
  },
  reserve: {
    type: 'percent-or-size',
    default: '1',
    description: 'Space that clients cannot fill.',
  },
  'max-hardlinks': {
    type: 'int',
    min: 0,
    default: '100',
    description: 'Links of a file on the brick, its handle included; 0 = no limit.',
  },
  'health-check-interval': {
    type: 'time',
    default: '30',
    description: 'How often the disk is tried, 0 = never.',
  },
  'health-check-timeout': { type: 'time', default: '20', description: 'How long a try may take.' },
  'janitor-sleep-duration': {
    type: 'time',
    min: 1,
    default: '10',
    description: 'How often removed trees are cleared away.',
  },
  'fips-mode-rchecksum': {
    type: 'bool',
    default: 'off',
    description: 'Checksums for heal are SHA-256 instead of MD5.',
  },
  gfid2path: { type: 'bool', default: 'on', description: 'Names are kept in xattrs of the file.' },
  hostname: { type: 'str', description: 'Name of the host in pathinfo.' },
  'glusterd-uuid': {
    type: 'any',
    description: 'UUID of the node, for trusted.glusterfs.node-uuid.',
  },
  'node-uuid-pathinfo': {
    type: 'bool',
    default: 'off',
    description: 'pathinfo names the node by UUID instead of host name.',
  },
  'force-create-mode': { type: 'str', default: '0000', description: 'Mode bits every file gets.' },
  'force-directory-mode': {
    type: 'str',
    default: '0000',
    description: 'Mode bits every directory gets.',
  },
  'create-mask': { type: 'str', default: '0777', description: 'Mode bits a file may have.' },
  'create-directory-mask': {
    type: 'str',
    default: '0777',
    description: 'Mode bits a directory may have.',
  },
  'brick-uid': {
    type: 'int',
    default: '-1',
    min: -1,
    description: 'Owner of the root; -1 = as is.',
  },
  'brick-gid': {
    type: 'int',
    default: '-1',
    min: -1,
    description: 'Group of the root; -1 = as is.',
  },
  'background-unlink': {
    type: 'bool',
    default: 'off',
    description: 'Unlink large files in the background.',
    noEffect: 'large files are always freed in the background',
  },
  'linux-aio': { type: 'bool', default: 'off', description: 'Use libaio.', noEffect: UNUSED },
  'linux-io_uring': {
    type: 'bool',
    default: 'off',
    description: 'Use io_uring.',
    noEffect: UNUSED,
  },
  'o-direct': {
    type: 'bool',
    default: 'off',
    description: 'Open files with O_DIRECT.',
    noEffect: 'the brick reads and writes through the page cache',
  },
  'batch-fsync-mode': {
    type: 'str',
    default: 'reverse-fsync',
    description: 'How fsyncs are batched.',
    noEffect: 'every fsync is carried out by itself',
  },
  'batch-fsync-delay-usec': {
    type: 'int',
    default: '0',
    description: 'How long fsyncs are collected.',
    noEffect: 'every fsync is carried out by itself',
  },
  'update-link-count-parent': {
    type: 'bool',
    default: 'off',
    description: 'Keep trusted.pgfid link counts.',
    noEffect: 'gfid2path serves the same purpose',
  },
  'disable-landfill-purge': {
    type: 'bool',
    default: 'off',
    description: 'Keep removed trees in the landfill.',
  },
})
