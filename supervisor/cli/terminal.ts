/** Where a command writes, and what that place can show. */
import pc from 'picocolors'

export type Colors = ReturnType<typeof pc.createColors>

export interface Output extends NodeJS.WritableStream {
  isTTY?: boolean
  columns?: number
  rows?: number
}

/** The standard streams of a command. `process` is one; tests have others. */
export interface Streams {
  /** Where answers come from; left out where nothing is asked. */
  readonly stdin?: NodeJS.ReadableStream & { readonly isTTY?: boolean }
  readonly stdout: Output
  readonly stderr: Output
}

/** Colours for a stream: on a terminal only, unless NO_COLOR (https://no-color.org) or FORCE_COLOR says otherwise. */
export function colorsFor(stream: Output, env: NodeJS.ProcessEnv = process.env): Colors {
  const force = env.FORCE_COLOR
  if (env.NO_COLOR || force === '0' || force === 'false') return pc.createColors(false)
  return pc.createColors(force !== undefined || (stream.isTTY === true && env.TERM !== 'dumb'))
}

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g

/** Text from elsewhere (a node's message, a logged path) without the control characters that could drive a terminal. */
export const plain = (text: string): string => text.replace(CONTROL, ' ')
