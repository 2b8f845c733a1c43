/** The codec of a subvolume: WebAssembly where its SIMD exists, else the plain one. */
import { Codec, type Decoded, type Fragments } from './codec.ts'
import { emitModule } from './emit.ts'
import type { Geometry } from './geometry.ts'
import { referenceDecode, referenceEncode } from './reference.ts'

export type { Decoded, Fragments } from './codec.ts'
export { CHUNK_SIZE, DATA_COUNT_MAX, Geometry } from './geometry.ts'

export type FragmentCodec = Pick<
  Codec,
  'geometry' | 'encode' | 'encodeLent' | 'decode' | 'decodeLent' | 'decoderCount'
>

export function createCodec(geometry: Geometry): FragmentCodec {
  return simdAvailable() ? new Codec(geometry) : new PlainCodec(geometry)
}

function simdAvailable(): boolean {
  if (typeof WebAssembly === 'undefined') return false
  const layout = { inputAt: () => 0, inputStep: 512, outputStep: 512 }
  return WebAssembly.validate(emitModule([{ kind: 'linear', coefficients: [1] }], layout))
}

/** `Codec` without WebAssembly: correct and slow. */
export class PlainCodec implements FragmentCodec {
  readonly geometry: Geometry
  readonly decoderCount = 0

  constructor(geometry: Geometry) {
    this.geometry = geometry
  }

  encode(data: readonly Uint8Array[], _size: number, bricks: readonly number[]): Buffer[] {
    const joined = Buffer.concat(data)
    return bricks.map((brick) => referenceEncode(this.geometry.dataCount, brick, joined))
  }

  encodeLent(data: readonly Uint8Array[], size: number, bricks: readonly number[]): Fragments {
    return { buffers: this.encode(data, size, bricks) }
  }

  decode(
    bricks: readonly number[],
    fragments: readonly (readonly Uint8Array[])[],
    _fragmentSize: number,
    from: number,
    to: number,
  ): Buffer {
    return referenceDecode(
      bricks,
      fragments.map((vector) => Buffer.concat(vector)),
    ).subarray(from, to)
  }

  decodeLent(...request: Parameters<FragmentCodec['decode']>): Decoded {
    return { data: this.decode(...request) }
  }
}
