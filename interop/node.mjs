// A DHT node of the npm package bittorrent-dht, used a JSON object a line as `eddy dht --json` is.
// node node.mjs IP PORT IP:PORT,...
import DHT from 'bittorrent-dht'
import readline from 'readline'

const [ip, port, others] = process.argv.slice(2)
const dht = new DHT({
  bootstrap: others.split(','), // left out it would be the public routers
  host: ip // so that it stores what it announces itself
})
const say = (said) => process.stdout.write(JSON.stringify(said) + '\n')
const found = new Map() // of each key looked up: the peers so far

dht.on('error', (e) => say({ ev: 'error', what: String(e) }))
dht.on('peer', (peer, key) => found.get(key.toString('hex'))?.add(`${peer.host}:${peer.port}`))
dht.on('ready', () => say({ ev: 'ready', id: dht.nodeId.toString('hex') }))
dht.listen(Number(port), ip)

const ops = {
  announce: ({ ih, port }) =>
    dht.announce(ih, port, (e, stored) => say({ ev: 'announced', ih, ok: !e, stored: stored ?? 0 })),
  get_peers: ({ ih }) => {
    found.set(ih, new Set())
    dht.lookup(ih, () => say({ ev: 'peers', ih, ok: true, peers: [...found.get(ih)] }))
  },
  info: () => say({ ev: 'info', id: dht.nodeId.toString('hex'), nodes: dht.nodes.toArray().length }),
  quit: () => dht.destroy(() => process.exit(0))
}
readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const op = JSON.parse(line)
    ops[op.op](op)
  })
  .on('close', () => process.exit(0))
