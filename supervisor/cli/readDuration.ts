/** Durations of the command line. */
import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../../shared/duration.ts'

/** Milliseconds. Throws what commander shows beside the option. */
export function readDuration(text: string): number {
  const parsed = parseDuration(text)
  if ('problem' in parsed) throw new InvalidArgumentError(parsed.problem)
  return parsed.ms
}
