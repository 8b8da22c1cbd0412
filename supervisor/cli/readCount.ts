/** Numbers of the command line. */
import { InvalidArgumentError } from 'commander'

/** A whole number from 1. Throws what commander shows beside the option. */
export function readCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('Want a whole number from 1.')
  return Number(text)
}
