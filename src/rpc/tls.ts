/** TLS as GlusterFS uses it: both ends show a certificate, names are not compared (spec 10 s.9). */
import { X509Certificate } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { ConnectionOptions, DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { clock, secondsOf } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'

/** PEM texts and settings of a TLS connection. */
export interface TlsSettings {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer
  readonly crl?: readonly Buffer[]
  readonly ciphers?: string
  readonly ecdhCurve?: string
  /** Intermediate certificates allowed between the peer's and the one trusted (ssl-cert-depth). */
  readonly depth: number
  /** Where `ca` and `cert` came from, for error texts. */
  readonly caFile: string
  readonly certFile: string
}

export interface TlsFiles {
  readonly cert: string
  readonly key: string
  readonly ca: string
  /** A file, or a directory of them; `NULL` is none. */
  readonly crl?: string | undefined
  readonly ciphers?: string | undefined
  readonly ecdhCurve?: string | undefined
  readonly depth: number
}

/** Where OpenSSL has its files: Debian, others, Red Hat. The first that has ours counts. */
const OPENSSL_DIRECTORIES = ['/usr/lib/ssl', '/etc/ssl', '/etc/pki/tls']

/** The certificates every connection of this machine uses unless a volume names others. */
export function defaultTlsFiles(): { cert: string; key: string; ca: string } {
  const found = OPENSSL_DIRECTORIES.find((path) => existsSync(`${path}/glusterfs.pem`))
  const at = `${found ?? '/etc/ssl'}/glusterfs`
  return { cert: `${at}.pem`, key: `${at}.key`, ca: `${at}.ca` }
}

export const DEFAULT_TLS_DEPTH = 1
/** Certificates looked at in a chain: a cycle ends here. */
const CHAIN_MAX = 32

/** Throws GlusterError OPTION_INVALID naming the file; `what` begins the message. */
export function readTlsFiles(files: TlsFiles, what: string): TlsSettings {
  const read = (path: string): Buffer => {
    try {
      return readFileSync(path)
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      throw new GlusterError('OPTION_INVALID', `${what}: cannot read ${path}: ${code}`, { cause })
    }
  }
  const { crl, ciphers, ecdhCurve } = files
  return {
    cert: read(files.cert),
    key: read(files.key),
    ca: read(files.ca),
    ...(crl === undefined || crl === 'NULL' ? {} : { crl: crlFiles(crl).map(read) }),
    ...(ciphers === undefined ? {} : { ciphers }),
    ...(ecdhCurve === undefined ? {} : { ecdhCurve }),
    depth: files.depth,
    caFile: files.ca,
    certFile: files.cert,
  }
}

/** Of a directory all files, as `openssl rehash` names them or not. */
function crlFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    return readdirSync(path)
      .map((name) => join(path, name))
      .filter((file) => statSync(file).isFile())
  } catch {
    return [path]
  }
}

export function tlsOptions(tls: TlsSettings): ConnectionOptions {
  return {
    cert: tls.cert,
    key: tls.key,
    ca: tls.ca,
    ...(tls.crl === undefined ? {} : { crl: [...tls.crl] }),
    ...(tls.ciphers === undefined ? {} : { ciphers: tls.ciphers }),
    ...(tls.ecdhCurve === undefined ? {} : { ecdhCurve: tls.ecdhCurve }),
    // Certificates name machines as the administrator likes; the chain is what counts.
    checkServerIdentity: () => undefined,
  }
}

/** Why the peer's chain, which is otherwise good, is too long; `undefined` when it is not. */
export function tooDeep(socket: TLSSocket, { depth }: TlsSettings): string | undefined {
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  let length = 0
  while (certificate !== undefined && length < CHAIN_MAX) {
    length++
    const issuer: DetailedPeerCertificate | undefined = certificate.issuerCertificate
    certificate = issuer?.fingerprint256 === certificate.fingerprint256 ? undefined : issuer
  }
  const between = Math.max(0, length - 2)
  if (between <= depth) return undefined
  return (
    `the server's certificate has ${between} intermediate certificates above it, ` +
    `ssl-cert-depth allows ${depth}`
  )
}

/** What an error of the TLS layer means for an administrator. */
export function tlsFailure(error: NodeJS.ErrnoException, tls: TlsSettings): string {
  const code = error.code ?? ''
  if (/ALERT_(UNKNOWN_CA|DECRYPT|BAD_CERT|CERTIFICATE_|UNSUPPORTED_CERT|NO_CERT)/.test(code)) {
    return certificateRefused(tls)
  }
  for (const [pattern, text] of MEANINGS) if (pattern.test(code)) return `TLS: ${text(tls)}`
  return error.message
}

const MEANINGS: readonly (readonly [RegExp, (tls: TlsSettings) => string])[] = [
  [/^CERT_HAS_EXPIRED$/, () => "the server's certificate has expired"],
  [/^CERT_NOT_YET_VALID$/, () => "the server's certificate is not valid yet"],
  [/^CERT_REVOKED$/, () => "the server's certificate is revoked (ssl-crl-path)"],
  [/CRL/, () => 'no valid CRL for the certificate of the server or its CA (ssl-crl-path)'],
  [
    /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY_LEAF)|CERT_SIGNATURE_FAILURE/,
    (tls) => `the server's certificate is not signed by a CA in ${tls.caFile}`,
  ],
  [/NO_CIPHER|ALERT_HANDSHAKE_FAILURE/, () => 'no cipher in common (ssl-cipher-list)'],
  [/WRONG_VERSION_NUMBER|PACKET_LENGTH/, () => 'it does not use TLS here'],
]

/** The peer ended the connection when it had seen our certificate; why is rarely told. */
export function certificateRefused({ cert, certFile, caFile }: TlsSettings): string {
  const { validFrom, validTo } = new X509Certificate(cert)
  const now = clock.realtime().sec
  if (secondsOf(validTo) < now) return `TLS: our certificate has expired (${certFile})`
  if (secondsOf(validFrom) > now) return `TLS: our certificate is not valid yet (${certFile})`
  return (
    `TLS: the server does not accept our certificate (${certFile}): ` +
    `not from a CA it knows (its ${basename(caFile)}), or revoked, or too far from the CA`
  )
}

/** A TLS connection that the peer closed before its first message. */
export const NOT_TLS = 'TLS: the server hangs up at the first message: it does not use TLS here'
/** A plain connection that the peer closed before it said anything. */
export const PLAIN_HINT = 'closed at the first call: does the server want TLS here?'
