/** docs/nixos.md as it is written: each block is a module that a host can have. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import * as z from 'zod'
import { evaluate, whyNoNix } from './evaluate.ts'

const reason = await whyNoNix()
beforeEach((context) => {
  if (reason !== undefined) context.skip(reason)
})

const page = await readFile(join(import.meta.dirname, '../../docs/nixos.md'), 'utf8')
const blocks = [...page.matchAll(/^```nix\n(.*?)^```$/gms)].map(([, block = '']) => block)

/** Of agenix and sops-nix, what the page uses. */
const secrets = `{ lib, ... }: {
  options = lib.genAttrs [ "age" "sops" ] (_: {
    secrets = lib.mkOption {
      default = { };
      type = lib.types.attrsOf (lib.types.submodule ({ name, ... }: {
        freeformType = lib.types.attrsOf lib.types.anything;
        options.path = lib.mkOption { type = lib.types.str; default = "/run/secrets/\${name}"; };
      }));
    };
  });
}`

test.each(blocks.map((block, index) => [index + 1, block]))('block %i', async (_, block) => {
  const evaluated = await evaluate(`import ./evaluate.nix { inherit lib; settings.imports = [ (${secrets}) (${block}) ]; }`)
  const { warnings, failedAssertions, configText } = z
    .object({ warnings: z.array(z.string()), failedAssertions: z.array(z.string()), configText: z.string() })
    .parse(evaluated)
  expect({ warnings, failedAssertions }).toEqual({ warnings: [], failedAssertions: [] })
  expect(configText).toContain('"authkeyPath":"/run/credentials/tsnsrv-sup.service/authkey"')
})

test('there are blocks', () => {
  expect(blocks.length).toBeGreaterThan(3)
})
