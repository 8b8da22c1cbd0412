/** Numbers of the command line. */
import { InvalidArgumentError } from 'commander'
import { Count } from '../../shared/orders.ts'

/** A whole number from 1. Throws what commander shows beside the option. */
export function readCount(text: string): number {
  const count = Count.read(text)
  if (count === undefined) throw new InvalidArgumentError(`Want ${Count.wanted}.`)
  return count
}
