import { readFileSync } from "node:fs";
import { defineConfig } from "vite";

// One folder of files whose names have a hash of their content, served below /web/.
const names = {
  entryFileNames: "[name]-[hash].js",
  chunkFileNames: "[name]-[hash].js",
  assetFileNames: "[name]-[hash].[ext]",
};

/** The licence of what is built in goes with it. */
const licence = {
  name: "licence",
  generateBundle() {
    const source = readFileSync("node_modules/preact/LICENSE", "utf8");
    this.emitFile({ type: "asset", name: "preact-licence.txt", source });
  },
};

export default defineConfig({
  base: "/web/",
  plugins: [licence],
  build: {
    assetsDir: "",
    // The policy of the page allows no data in URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: { output: names },
  },
  worker: { format: "es", rollupOptions: { output: names } },
});
