/** The kinds of volume both clients are compared on. */
import { registry } from '../../../xlators/registry.ts'
import type { VolumeOptions } from '../../lib/sandbox.ts'

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
