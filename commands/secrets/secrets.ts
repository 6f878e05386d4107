import { parseArgs } from 'node:util'
import { type Command, parse, writeOneOf } from '../command.ts'

const USAGE = `Usage: sightline secrets cloud DIR HOST [HOST ...]
       sightline secrets invite DIR SITE
       sightline secrets remove DIR SITE
       sightline secrets console DIR
       sightline secrets edge DIR FILE DEVICE
       sightline secrets demo DIR
       sightline secrets inference DIR HOST [HOST ...]
       sightline secrets servers DIR FILE [FILE ...]
`

export const secrets: Command = {
  summary: 'makes users, passwords and certificates for the Compose files',
  help: `Makes the credentials of the containers in the Compose files: an authority,
certificates, users, passwords, S3 keys. Nothing has a default.
docker/secrets.sh runs it in an image, with docker/secrets as DIR.

${USAGE}
cloud    at the cloud, once; HOST: a name or address that edges connect to
invite   there, for each edge: a join file with its own site and user
remove   removes one edge: its connection ends, the others stay
console  at a cloud that was made before there was the console: what it needs
edge     at the edge, once; FILE: its join file, DEVICE: a name
demo     both on this machine
inference  at an inference server, once; HOST: a name or address that edges
         connect to
servers  at an edge: its frames are looked at there; FILE: the join file of
         an inference server

Options:
  --help   this text
`,
  async run(argv) {
    const { positionals } = parse('secrets', () =>
      parseArgs({ args: argv, allowPositionals: true, options: {} }),
    )
    const [verb, folder, ...args] = positionals
    const [first, second] = args
    if (folder === undefined) writeOneOf('secrets', USAGE)
    const make = await import('../../deploy/secrets-files.ts')
    const say = (text: string) => void process.stdout.write(text)
    if (verb === 'cloud' && first !== undefined)
      say(await make.cloudSecrets(folder, [first, ...args.slice(1)]))
    else if (verb === 'invite' && first !== undefined && args.length === 1)
      say(await make.inviteEdge(folder, first))
    else if (verb === 'remove' && first !== undefined && args.length === 1)
      say(await make.removeEdge(folder, first))
    else if (verb === 'console' && args.length === 0) say(await make.consoleSecrets(folder))
    else if (verb === 'edge' && first !== undefined && second !== undefined && args.length === 2)
      say(await make.edgeSecrets(folder, first, second))
    else if (verb === 'inference' && first !== undefined)
      say(await make.inferenceSecrets(folder, [first, ...args.slice(1)]))
    else if (verb === 'servers' && first !== undefined) say(make.lookingSecrets(folder, args))
    else if (verb === 'demo' && args.length === 0) say(await make.demoSecrets(folder))
    else writeOneOf('secrets', USAGE)
    return 0
  },
}
