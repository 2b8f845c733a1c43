/** Buffer methods that exist in every Node release but are missing from its type declarations. */
interface Buffer {
  latin1Slice(start?: number, end?: number): string
  latin1Write(text: string, offset?: number, length?: number): number
  utf8Slice(start?: number, end?: number): string
}
