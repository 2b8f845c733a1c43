/** What is told to a brick at SETVOLUME, and the settings of its connection. */
import type { OptionValues } from '../../../src/core/options.ts'
import type { GraphContext } from '../../../src/core/xlator.ts'
import { defaultTlsFiles, readTlsFiles, type TlsSettings } from '../../../src/rpc/tls.ts'
import type { AddressFamily, SocketSettings } from '../../../src/rpc/transport.ts'
import { type LegacyDict, legacyDict } from '../../../src/xdr/dict.ts'
import { GF_FOP } from '../../../src/xdr/programs.ts'
import type { ClientOptions } from './options.ts'

/** The release whose protocol this is. */
const CLIENT_VERSION = '10.3'
const OP_VERSION = '100000'

type Values = OptionValues<ClientOptions>

/**
 * The SETVOLUME dictionary: the options as the volfile has them, and who we are. `reconnects` makes
 * the identity new for each connection, so that a brick does not mix it up with a dying one.
 */
export function introduction(...who: Parameters<typeof introductionTexts>): LegacyDict {
  return legacyDict(introductionTexts(...who))
}

/** The same as texts by key; `.meta` shows them as the translator's options. */
export function introductionTexts(
  graph: GraphContext,
  name: string,
  given: ReadonlyMap<string, string>,
  reconnects: number,
  volumeId: string | undefined,
): Record<string, string> {
  const { process: client } = graph
  const pid = process.pid
  const identity =
    `CTX_ID:${client.uuid}-GRAPH_ID:${graph.id}-PID:${pid}-HOST:${client.hostname}` +
    `-PC_NAME:${name}-RECON_NO:-${reconnects}`
  return {
    ...Object.fromEntries(given),
    'transport-type': 'socket',
    'fops-version': String(GF_FOP.number),
    'process-uuid': identity,
    'process-name': client.processName,
    'client-version': CLIENT_VERSION,
    'volfile-key': graph.volfileId,
    'volfile-checksum': '0',
    'clnt-lk-version': '1',
    opversion: OP_VERSION,
    ...(client.subdirMount === undefined ? {} : { 'subdir-mount': client.subdirMount }),
    ...(volumeId === undefined ? {} : { 'volume-id': volumeId }),
  }
}

export function addressFamily(options: Values): AddressFamily {
  const family = options['transport.address-family']
  return family === 'inet' || family === 'inet6' ? family : 'any'
}

export function socketSettings(options: Values): SocketSettings {
  return {
    keepalive: options['transport.socket.keepalive'],
    keepaliveTime: options['transport.socket.keepalive-time'],
    keepaliveInterval: options['transport.socket.keepalive-interval'],
    keepaliveCount: options['transport.socket.keepalive-count'],
    userTimeoutMs: options['transport.tcp-user-timeout'] * 1000,
    noDelay: options['transport.socket.nodelay'],
    windowBytes: options['tcp-window-size'],
    sourceAddress: options['transport.socket.source-addr'],
    privilegedPort: !options['client-bind-insecure'],
  }
}

/** Certificates of the volume's TLS settings. Throws GlusterError naming the file. */
export function tlsSettings(options: Values): TlsSettings {
  const files = defaultTlsFiles()
  return readTlsFiles(
    {
      cert: options['transport.socket.ssl-own-cert'] ?? files.cert,
      key: options['transport.socket.ssl-private-key'] ?? files.key,
      ca: options['transport.socket.ssl-ca-list'] ?? files.ca,
      crl: options['transport.socket.ssl-crl-path'],
      ciphers: options['transport.socket.ssl-cipher-list'],
      ecdhCurve: options['transport.socket.ssl-ec-curve'],
      depth: options['transport.socket.ssl-cert-depth'],
    },
    'TLS to the brick',
  )
}
