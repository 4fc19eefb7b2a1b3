// What scripts add to pages that work without them: copying, progress that moves, and hashing a file.
import { offerCopying } from "./copying.js";
import { offerHashing } from "./hashing.js";
import { keepCurrent } from "./live.js";

offerCopying(document);
keepCurrent();
offerHashing();
