export default function X() {
  return <h1>device</h1>
}
