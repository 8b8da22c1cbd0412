/** What a scalar means. The schema decides, by the rules of yaml.v3 when it fills a typed field (its decode.go). */
import * as z from 'zod'
import { DURATION_TITLE, HeaderValue } from '../../shared/config.ts'
import { notADuration } from '../../shared/duration.ts'

/** A scalar as it was written: its text without quotes, and whether there were none. */
export interface WrittenScalar {
  readonly text: string
  readonly plain: boolean
}

export type ScalarReading =
  | { readonly value: string | number | boolean; readonly note?: string }
  | { readonly problem: string; readonly hint?: string }

/** The schema without its default: what a value that is present must be. */
export function presentSchema(schema: z.ZodType): z.ZodType {
  const wrapped = schema instanceof z.ZodDefault || schema instanceof z.ZodOptional || schema instanceof z.ZodPrefault
  return wrapped ? presentSchema(schema.unwrap() as z.ZodType) : schema
}

/** Reads a scalar as the string, number or boolean that the schema wants, and checks it. */
export function readScalar(schema: z.ZodType, written: WrittenScalar): ScalarReading {
  const wanted = presentSchema(schema)
  const variable = /\$\{[A-Za-z_]\w*\}/.exec(written.text)?.[0]
  if (variable !== undefined && wanted !== HeaderValue) {
    return { problem: `${variable} is not expanded`, hint: 'write the value, or make the file with envsubst' }
  }
  const reading = convert(wanted, written)
  if ('problem' in reading) return reading
  const checked = wanted.safeParse(reading.value)
  if (checked.success && variable !== undefined) return { ...reading, note: `${variable} is not expanded, and sent as it stands` }
  return checked.success ? reading : { problem: checked.error.issues[0]?.message ?? 'not allowed here' }
}

function convert(wanted: z.ZodType, written: WrittenScalar): ScalarReading {
  if (wanted instanceof z.ZodBoolean) return toBoolean(written)
  if (wanted instanceof z.ZodNumber) return toNumber(written)
  const isNumber = written.plain && /^[-+]?\.?\d[\d._]*$/.test(written.text)
  if (wanted.meta()?.title === DURATION_TITLE && isNumber) return { problem: notADuration(written.text) }
  // Any other scalar where a text is wanted gives its source text: `name: 123` is "123", `X-Flag: true` is "true".
  return { value: written.text }
}

const TRUE = /^(true|True|TRUE)$/
const FALSE = /^(false|False|FALSE)$/
// YAML 1.1 words. yaml.v3 takes them for a boolean field even in quotes, and takes "true" only without.
const YES = /^(y|Y|yes|Yes|YES|on|On|ON)$/
const NO = /^(n|N|no|No|NO|off|Off|OFF)$/

function toBoolean({ text, plain }: WrittenScalar): ScalarReading {
  if (TRUE.test(text) || FALSE.test(text)) {
    const value = TRUE.test(text)
    return plain ? { value } : { problem: 'a text in quotes is not a boolean', hint: `write ${String(value)} without quotes` }
  }
  if (YES.test(text) || NO.test(text)) {
    const value = YES.test(text)
    return { value, note: `read as ${String(value)}, as YAML 1.1 does: ${String(value)} is clearer` }
  }
  return { problem: 'want true or false' }
}

function toNumber({ text, plain }: WrittenScalar): ScalarReading {
  if (!/^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/.test(text)) return { problem: 'want a number' }
  return plain ? { value: Number(text) } : { problem: 'a text in quotes is not a number', hint: 'write it without quotes' }
}
