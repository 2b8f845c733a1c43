/** Volfiles of embedded volumes: what a brick is made of, and what a client mounts. */
import { statSync } from 'node:fs'
import { isArbiter, setWidth, type Volume } from './volume.ts'
import { clientLayers, optionsOf } from './volume-options-table.ts'

interface Layer {
  name: string
  type: string
  options?: Readonly<Record<string, string | number>>
  below?: readonly string[]
}

function text(layers: readonly Layer[]): string {
  const parts = layers.map(({ name, type, options = {}, below = [] }) => {
    const lines = Object.entries(options).map(([key, value]) => `    option ${key} ${value}\n`)
    const subvolumes = below.length === 0 ? '' : `    subvolumes ${below.join(' ')}\n`
    return `volume ${name}\n    type ${type}\n${lines.join('')}${subvolumes}end-volume\n`
  })
  return parts.join('\n')
}

/** Each layer stands on the one before it. */
function stack(layers: readonly Layer[]): Layer[] {
  return layers.map((layer, index) => {
    const below = layers[index - 1]
    return below === undefined || layer.below !== undefined
      ? layer
      : { ...layer, below: [below.name] }
  })
}

/** Counters whose being non-zero puts a file into the brick's index of pending heals. */
function watched({ name, disperse, replica }: Volume): Record<string, string> {
  if (disperse !== undefined) return { 'xattrop64-watchlist': 'trusted.ec.dirty' }
  if (replica === undefined) return {}
  return {
    'xattrop-pending-watchlist': `trusted.afr.${name}-`,
    'xattrop-dirty-watchlist': 'trusted.afr.dirty',
  }
}

/** How many of the volume's bricks, itself among them, share the brick's file system. */
function onSameDisk({ bricks }: Volume, path: string): number {
  const own = disk(path)
  return bricks.filter((brick) => brick === path || disk(brick) === own).length
}

function disk(brick: string): number | undefined {
  try {
    return statSync(brick).dev
  } catch {
    // Not there now: the brick will say so.
    return undefined
  }
}

/** A brick: posix, (arbiter,) access-control, locks, upcall, index, server. `port` 0 = any. */
export function brickVolfile(volume: Volume, path: string, host: string, port = 0): string {
  const { name } = volume
  const set = (type: string): Record<string, string> =>
    optionsOf(volume.options ?? {}, 'brick', type, path)
  const layer = (short: string, type: string, options: Layer['options'] = {}): Layer => ({
    name: short === '' ? path : `${name}-${short}`,
    type,
    options: { ...options, ...set(type) },
  })
  const posix = {
    directory: path,
    'volume-id': volume.id,
    'shared-brick-count': onSameDisk(volume, path),
    'fips-mode-rchecksum': 'on',
  }
  const server = {
    'transport.socket.bind-address': host,
    'transport.socket.listen-port': port,
    [`auth.addr.${path}.allow`]: '*',
  }
  return text(
    stack([
      layer('posix', 'storage/posix', posix),
      ...(isArbiter(volume, path) ? [layer('arbiter', 'features/arbiter')] : []),
      layer('access-control', 'features/access-control'),
      layer('locks', 'features/locks'),
      layer('upcall', 'features/upcall', { 'cache-invalidation': 'off' }),
      layer('', 'features/index', {
        'index-base': `${path}/.glusterfs/indices`,
        ...watched(volume),
      }),
      layer('server', 'protocol/server', server),
    ]),
  )
}

/** Bricks of a dispersed or replicated set, in order; a plain volume's files are spread whole. */
function setLayer(volume: Volume, set: number, clients: readonly string[]): Layer {
  const { name, disperse, replica, id } = volume
  if (disperse !== undefined) {
    const options = { redundancy: disperse.redundancy }
    return { name: `${name}-disperse-${set}`, type: 'cluster/disperse', options, below: clients }
  }
  const options = {
    'use-anonymous-inode': 'yes',
    'use-compound-fops': 'off',
    'granular-entry-heal': 'on',
    ...(replica?.arbiter === 1 ? { 'arbiter-count': 1 } : {}),
    'volume-id': id,
    'afr-pending-xattr': clients.join(','),
  }
  return { name: `${name}-replicate-${set}`, type: 'cluster/replicate', options, below: clients }
}

/** What GETSPEC answers: clients ask the portmap at `host:port` where the bricks are. */
export function clientVolfile(volume: Volume, host: string, port: number): string {
  const { name, bricks, options = {} } = volume
  const clients = bricks.map((path, index) => ({
    name: `${name}-client-${index}`,
    type: 'protocol/client',
    options: {
      'remote-host': host,
      'remote-port': port,
      'remote-subvolume': path,
      'transport-type': 'tcp',
      'transport.address-family': 'inet',
      'ping-timeout': 42,
      'send-gids': 'true',
    },
  }))
  const sets: Layer[] = []
  const width = setWidth(volume)
  for (let at = 0; width > 1 && at < clients.length; at += width) {
    const below = clients.slice(at, at + width).map((client) => client.name)
    sets.push(setLayer(volume, sets.length, below))
  }
  const spread = (sets.length > 0 ? sets : clients).map((layer) => layer.name)
  const wanted = clientLayers(options)
  const optional = (short: string): Layer[] =>
    wanted.has(`performance/${short}`)
      ? [{ name: `${name}-${short}`, type: `performance/${short}` }]
      : []
  const top = stack([
    { name: `${name}-dht`, type: 'cluster/distribute', below: spread },
    { name: `${name}-utime`, type: 'features/utime', options: { noatime: 'on' } },
    ...CLIENT_LAYERS.flatMap(optional),
    { name, type: 'debug/io-stats' },
  ])
  const withOptions = (layer: Layer): Layer => ({
    ...layer,
    options: { ...layer.options, ...optionsOf(options, 'client', layer.type) },
  })
  return text([...clients, ...sets, ...top].map(withOptions))
}

/** Bottom to top, as glusterd puts them. */
const CLIENT_LAYERS = [
  'write-behind',
  'read-ahead',
  'readdir-ahead',
  'io-cache',
  'open-behind',
  'quick-read',
  'nl-cache',
  'md-cache',
  'io-threads',
]
