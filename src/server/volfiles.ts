/** Volfiles of embedded volumes: what a brick is made of, and what a client mounts. */
import type { Volume } from './volume.ts'

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

/** A brick: posix, access-control, locks, upcall, index, server. `port` 0 = any. */
export function brickVolfile(volume: Volume, path: string, host: string, port = 0): string {
  const { name } = volume
  const watched: Record<string, string> =
    volume.disperse === undefined ? {} : { 'xattrop64-watchlist': 'trusted.ec.dirty' }
  return text(
    stack([
      {
        name: `${name}-posix`,
        type: 'storage/posix',
        options: {
          directory: path,
          'volume-id': volume.id,
          // All bricks are on one machine, and most likely on one file system.
          'shared-brick-count': volume.bricks.length,
          'fips-mode-rchecksum': 'on',
        },
      },
      { name: `${name}-access-control`, type: 'features/access-control' },
      { name: `${name}-locks`, type: 'features/locks' },
      {
        name: `${name}-upcall`,
        type: 'features/upcall',
        options: { 'cache-invalidation': 'off' },
      },
      {
        name: path,
        type: 'features/index',
        options: { 'index-base': `${path}/.glusterfs/indices`, ...watched },
      },
      {
        name: `${name}-server`,
        type: 'protocol/server',
        options: {
          'transport.socket.bind-address': host,
          'transport.socket.listen-port': port,
        },
      },
    ]),
  )
}

/** What GETSPEC answers: clients ask the portmap at `host:port` where the bricks are. */
export function clientVolfile(volume: Volume, host: string, port: number): string {
  const { name, bricks, disperse } = volume
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
  if (disperse !== undefined) {
    const width = disperse.data + disperse.redundancy
    for (let at = 0; at < clients.length; at += width) {
      sets.push({
        name: `${name}-disperse-${sets.length}`,
        type: 'cluster/disperse',
        options: { redundancy: disperse.redundancy },
        below: clients.slice(at, at + width).map((client) => client.name),
      })
    }
  }
  const spread = (sets.length > 0 ? sets : clients).map((layer) => layer.name)
  const top = stack([
    { name: `${name}-dht`, type: 'cluster/distribute', below: spread },
    { name: `${name}-utime`, type: 'features/utime', options: { noatime: 'on' } },
    { name: `${name}-write-behind`, type: 'performance/write-behind' },
    { name: `${name}-open-behind`, type: 'performance/open-behind' },
    { name: `${name}-quick-read`, type: 'performance/quick-read' },
    { name: `${name}-md-cache`, type: 'performance/md-cache' },
    { name: `${name}-io-threads`, type: 'performance/io-threads' },
    { name, type: 'debug/io-stats' },
  ])
  return text([...clients, ...sets, ...top])
}
