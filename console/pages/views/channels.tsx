export default function X() {
  return <h1>channels</h1>
}
