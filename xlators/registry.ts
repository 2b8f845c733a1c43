/** Every translator by volfile type. A module is loaded when a volfile names its type. */
import type { XlatorDefinition } from '../src/core/xlator.ts'

type Loader = () => Promise<{ default: XlatorDefinition }>

export const registry: Readonly<Record<string, Loader>> = {
  'cluster/disperse': () => import('./cluster/disperse/index.ts'),
  'cluster/distribute': () => import('./cluster/distribute/index.ts'),
  'cluster/nufa': () => import('./cluster/nufa/index.ts'),
  'cluster/replicate': () => import('./cluster/replicate/index.ts'),
  'debug/delay-gen': () => import('./debug/delay-gen/index.ts'),
  'debug/error-gen': () => import('./debug/error-gen/index.ts'),
  'debug/io-stats': () => import('./debug/io-stats/index.ts'),
  'debug/trace': () => import('./debug/trace/index.ts'),
  'features/access-control': () => import('./features/access-control/index.ts'),
  'features/arbiter': () => import('./features/arbiter/index.ts'),
  'features/cloudsync': () => import('./features/cloudsync/index.ts'),
  'features/gfid-access': () => import('./features/gfid-access/index.ts'),
  'features/index': () => import('./features/index/index.ts'),
  'features/locks': () => import('./features/locks/index.ts'),
  'features/shard': () => import('./features/shard/index.ts'),
  'features/snapview-client': () => import('./features/snapview-client/index.ts'),
  'features/upcall': () => import('./features/upcall/index.ts'),
  'features/utime': () => import('./features/utime/index.ts'),
  meta: () => import('./meta/index.ts'),
  'performance/io-cache': () => import('./performance/io-cache/index.ts'),
  'performance/io-threads': () => import('./performance/io-threads/index.ts'),
  'performance/md-cache': () => import('./performance/md-cache/index.ts'),
  'performance/nl-cache': () => import('./performance/nl-cache/index.ts'),
  'performance/open-behind': () => import('./performance/open-behind/index.ts'),
  'performance/quick-read': () => import('./performance/quick-read/index.ts'),
  'performance/read-ahead': () => import('./performance/read-ahead/index.ts'),
  'performance/readdir-ahead': () => import('./performance/readdir-ahead/index.ts'),
  'performance/write-behind': () => import('./performance/write-behind/index.ts'),
  'protocol/client': () => import('./protocol/client/index.ts'),
  'protocol/server': () => import('./protocol/server/index.ts'),
  'system/posix-acl': () => import('./system/posix-acl/index.ts'),
  'storage/posix': () => import('./storage/posix/index.ts'),
}
