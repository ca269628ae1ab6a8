//! What an author of operators does before a cluster is there: `marionette operator new|build|test|inspect|run`.
