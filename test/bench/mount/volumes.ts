/** The kinds of volume both clients are compared on. */
import { registry } from '../../../xlators/registry.ts'
import { sh, space, type VolumeOptions } from '../../lib/sandbox.ts'

export interface VolumeKind {
  readonly name: string
  readonly title: string
  readonly options: VolumeOptions
  /** Bricks send upcalls and clients trust what they cache until one comes. */
  readonly cached: boolean
  /** Part of a quick run. */
  readonly quick: boolean
  /** Why our client cannot mount it yet. */
  readonly missing: string | undefined
}

const needs = (type: string): string | undefined =>
  registry[type] === undefined ? `there is no ${type} translator` : undefined

/** Options of the group `metadata-cache` of GlusterFS. */
const METADATA_CACHE = {
  'features.cache-invalidation': 'on',
  'features.cache-invalidation-timeout': '600',
  'performance.stat-prefetch': 'on',
  'performance.cache-invalidation': 'on',
  'performance.md-cache-timeout': '600',
  'network.inode-lru-limit': '200000',
}

/** Largest image of all bricks' file systems, MiB; it takes the memory of what it holds. */
const BRICKS_MIB = 12_288

/**
 * Puts the bricks of volumes to come on an ext4 in memory: a disk is equally slow for both clients
 * and, where others use it too, the most of what is measured. False where that is not possible.
 */
export async function bricksInMemory(): Promise<boolean> {
  const [memory, bricks] = [space('memory'), space('bricks')]
  const { status } = await sh(
    `mkdir -p '${memory}' '${bricks}'
    mount -t tmpfs -o size=${BRICKS_MIB}m bench '${memory}'
    truncate -s ${BRICKS_MIB}M '${memory}/image'
    mkfs.ext4 -q -F -E nodiscard '${memory}/image'
    mount -o loop,discard '${memory}/image' '${bricks}'`,
    { mayFail: true },
  )
  return status === 0
}

export const kinds: readonly VolumeKind[] = [
  {
    name: 'distribute',
    title: 'distribute, 2 bricks',
    options: { bricks: 2 },
    cached: false,
    quick: true,
    missing: needs('cluster/distribute'),
  },
  {
    name: 'disperse',
    title: 'disperse 4+2',
    options: { bricks: 6, layout: ['disperse', '6', 'redundancy', '2'] },
    cached: false,
    quick: true,
    missing: needs('cluster/disperse'),
  },
  {
    name: 'replicate',
    title: 'replica 3',
    options: { bricks: 3, layout: ['replica', '3'] },
    cached: false,
    quick: false,
    missing: needs('cluster/replicate'),
  },
  {
    name: 'cached',
    title: 'distribute, 2 bricks, cache invalidation',
    options: { bricks: 2, set: METADATA_CACHE },
    cached: true,
    quick: true,
    missing: needs('cluster/distribute'),
  },
]
