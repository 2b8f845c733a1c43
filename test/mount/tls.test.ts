/** TLS towards stock servers: what works, and what is said when a certificate is not right. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import {
  enterSandbox,
  gluster,
  launcher,
  type RunResult,
  run,
  sh,
  sleep,
  space,
  Volume,
} from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

/** Two authorities; certificates `good`, `stranger`, `expired`, `revoked`, and `deep` below two more. */
const makeCertificates = `
mkdir -p ssl && cd ssl
printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\nserial=serial\\nnew_certs_dir=.\\ndefault_md=sha256\\npolicy=p\\nunique_subject=no\\ncopy_extensions=none\\ndefault_crl_days=9\\n[p]\\ncommonName=supplied\\n[i]\\nbasicConstraints=critical,CA:true\\n[e]\\nbasicConstraints=CA:false\\n' >conf
touch index; echo 1000 >serial
for ca in ca other; do
  openssl req -x509 -newkey rsa:2048 -nodes -keyout $ca.key -out $ca.pem -days 9 -subj /CN=$ca
done
# NAME ISSUER EXTENSIONS [DATES...]
issue() { local name=$1 issuer=$2 kind=$3; shift 3
  openssl req -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
  openssl ca -batch -config conf -notext -cert $issuer.pem -keyfile $issuer.key -in $name.csr \\
    -out $name.pem -extensions $kind "$@"; }
issue good ca e -days 9; issue stranger ca e -days 9; issue revoked ca e -days 9
issue expired ca e -startdate 20200101000000Z -enddate 20210101000000Z
issue foreign other e -days 9
issue middle1 ca i -days 9; issue middle2 middle1 i -days 9; issue deep middle2 e -days 9
cat middle2.pem middle1.pem >>deep.pem
openssl ca -config conf -cert ca.pem -keyfile ca.key -revoke revoked.pem
openssl ca -config conf -cert ca.pem -keyfile ca.key -gencrl -out crl.pem
`

describe('TLS', { skip, timeout: 180_000 }, () => {
  let volume: Volume
  const file = (name: string): string => space(`ssl/${name}`)
  let mounts = 0

  async function mount(words: string[], id = 'tls'): Promise<RunResult & { dir: string }> {
    const dir = space(`mnt/tls-${mounts++}`)
    mkdirSync(dir, { recursive: true })
    const server = ['--volfile-server=node01', `--volfile-id=${id}`]
    const result = await run([launcher, ...server, ...words, dir], {
      mayFail: true,
      env: { NODE_EXTRA_CA_CERTS: '' },
    })
    return { ...result, dir }
  }

  async function works(words: string[]): Promise<void> {
    const { status, stderr, dir } = await mount(words)
    assert.equal(stderr, '')
    assert.equal(status, 0)
    writeFileSync(`${dir}/file`, 'over TLS')
    assert.equal(readFileSync(`${dir}/file`, 'utf8'), 'over TLS')
    await run(['umount', dir])
  }

  async function refused(words: string[], message: RegExp, id = 'tls'): Promise<void> {
    const { status, stderr } = await mount(words, id)
    assert.match(stderr, message)
    assert.notEqual(status, 0)
  }

  const option = (key: string, value: string): string =>
    `--xlator-option=*-client-*.transport.socket.${key}=${value}`
  const shows = (name: string): string[] => [
    option('ssl-own-cert', file(`${name}.pem`)),
    option('ssl-private-key', file(`${name}.key`)),
  ]

  /** The brick shows this certificate from now on. */
  async function brickShows(name: string): Promise<void> {
    await gluster('volume', 'set', 'tls', 'ssl.own-cert', file(`${name}.pem`))
    await gluster('volume', 'set', 'tls', 'ssl.private-key', file(`${name}.key`))
    await volume.killBricks()
    await volume.startBricks()
  }

  before(async () => {
    mkdirSync(space(''), { recursive: true })
    await sh(makeCertificates, { cwd: space('') })
    volume = await Volume.create('tls', {
      bricks: 1,
      set: {
        'client.ssl': 'on',
        'server.ssl': 'on',
        'ssl.own-cert': file('good.pem'),
        'ssl.private-key': file('good.key'),
        'ssl.ca-list': file('ca.pem'),
        'auth.ssl-allow': 'good,expired,foreign,deep,revoked',
      },
    })
  })

  test('the right certificate', () => works([]))

  test('the kernel probes connections with TLS, too', async () => {
    const { dir } = await mount([option('keepalive-time', '11')])
    // What was sent is acknowledged by now: that has a timer of its own.
    await sleep(500)
    const { stdout } = await run(['ss', '-Htnop', 'state', 'established'])
    const ours = stdout.split('\n').filter((line) => line.includes('"glusterfs"'))
    assert.ok(
      ours.some((line) => /timer:\(keepalive,(11|10|9\.?\d*)\w*,0\)/.test(line)),
      stdout,
    )
    await run(['umount', dir])
  })

  test('ours: from another CA, expired, of a name that is not allowed', async () => {
    await refused(
      shows('foreign'),
      /does not accept our certificate \(.*foreign\.pem\): not from a CA/,
    )
    await refused(shows('expired'), /our certificate has expired \(.*expired\.pem\)/)
    await refused(shows('stranger'), /is the CN of .*stranger\.pem in the volume's auth\.ssl-allow/)
  })

  test('no TLS where the brick wants it, TLS where it does not', async () => {
    await refused([option('ssl-enabled', 'off')], /does the server want TLS here\?/)
    await Volume.create('plain', { bricks: 1 })
    const words = [
      option('ssl-enabled', 'on'),
      ...shows('good'),
      option('ssl-ca-list', file('ca.pem')),
    ]
    await refused(words, /it does not use TLS here/, 'plain')
  })

  test('certificates that cannot be read', () =>
    refused([option('ssl-own-cert', '/none.pem')], /cannot read \/none\.pem: ENOENT/))

  test("the brick's: from another CA, revoked, expired, too far from the CA", async () => {
    const ca = option('ssl-ca-list', file('other.pem'))
    await refused([ca], /the server's certificate is not signed by a CA in .*other\.pem/)
    await works([option('ssl-crl-path', file('crl.pem'))])
    await brickShows('revoked')
    await works(shows('good'))
    await refused(
      [...shows('good'), option('ssl-crl-path', file('crl.pem'))],
      /the server's certificate is revoked/,
    )
    await brickShows('expired')
    await refused(shows('good'), /the server's certificate has expired/)
    await brickShows('deep')
    await refused(
      shows('good'),
      /has 2 intermediate certificates above it, ssl-cert-depth allows 1/,
    )
    await works([...shows('good'), option('ssl-cert-depth', '2')])
    await brickShows('good')
  })

  test('to glusterd: secure-access', async () => {
    await refused(['--secure-mgmt=on'], /TLS to glusterd: cannot read .*glusterfs\.pem: ENOENT/)
    // where OpenSSL, and so stock, has its files
    const { stdout } = await run(['openssl', 'version', '-d'])
    const ssl = /"(.*)"/.exec(stdout)![1]!
    await sh(`mount -t tmpfs none "${ssl}"; cp ${file('good.pem')} "${ssl}/glusterfs.pem"
      cp ${file('good.key')} "${ssl}/glusterfs.key"; cp ${file('ca.pem')} "${ssl}/glusterfs.ca"`)
    await refused(['--secure-mgmt=on'], /node01:24007: TLS: .*it does not use TLS here/)
    writeFileSync('/var/lib/glusterd/secure-access', '')
    await sh(`kill $(pidof glusterd); sleep 1; glusterd -l /var/log/glusterfs/glusterd.log`)
    await sleep(2000)
    await works([])
    await refused(['--secure-mgmt=off'], /node01:24007: .*does the server want TLS here\?/)
    await sh(`cp ${file('other.pem')} ${ssl}/glusterfs.ca`)
    await refused(
      [],
      /24007: TLS: the server's certificate is not signed by a CA in .*glusterfs.ca/,
    )
    rmSync('/var/lib/glusterd/secure-access')
  })
})
